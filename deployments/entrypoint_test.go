package deployments

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The image's own command line, run as the container's first process: as its user, with nothing but the two binaries in
// its file system, as PID 1 of a PID namespace. It takes jobs, and the container's stop (TERM) ends it in order.
//
// Without root, or where namespaces are not allowed, the same command line runs as an ordinary process with its paths
// moved to a folder.
func TestEntryPoint(t *testing.T) {
	n := theNumbers(t)
	s := withQueue(t)
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil { // it is the container's /
		t.Fatal(err)
	}
	bin := filepath.Join(root, filepath.Dir(entryPoint(t)[0]))
	for _, dir := range []string{bin, filepath.Join(root, "etc", "seriatim"), filepath.Join(root, "proc"), filepath.Join(root, "dev")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	workerd := readFile(t, filepath.Join(binaries(t), "workerd"))
	writeFile(t, filepath.Join(bin, "workerd"), workerd, 0o755)
	writeFile(t, filepath.Join(root, "dev", "null"), "", 0o666)

	argv := append(entryPoint(t), execForm(t, "CMD")...)
	contained := os.Getuid() == 0 && exec.Command("unshare", "-pf", "--mount-proc", "true").Run() == nil
	job := argv[0]
	if !contained {
		without(t, "root with namespaces of its own")
		for i, arg := range argv {
			if filepath.IsAbs(arg) {
				argv[i] = filepath.Join(root, arg)
			}
		}
		job = argv[0]
	}
	// The one program that the bare file system has is workerd; as a job it says its version.
	writeFile(t, filepath.Join(root, "etc", "seriatim", "workerd.yaml"),
		fmt.Sprintf("queues: [ci]\nhttp: 127.0.0.1:0\npools:\n  - {name: jobs, mode: exec, command: [%s, --version]}\n", job), 0o644)
	if contained {
		argv = append([]string{
			"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--root=" + root, "--wd=/tmp",
			"--setgid=" + num(n.Image.User), "--setuid=" + num(n.Image.User), "--",
		}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"SERIATIM_NATS_URL=" + userURL(s, "worker-ci"), "PATH=/usr/local/bin:/usr/bin:/bin", "SERIATIM_LOG_FORMAT=json"}
	if !contained {
		cmd.Env = append(cmd.Env, "SERIATIM_RUN_DIR="+t.TempDir())
	}
	p := start(t, cmd)
	eventually(t, "jobs are taken", func() bool { return strings.Contains(p.out.String(), `"message":"running"`) || !p.alive() })
	for i := range 5 {
		publish(t, s, fmt.Sprintf("build.%d", i), "")
	}
	eventually(t, "all jobs done", func() bool {
		if !p.alive() {
			t.Fatalf("it ended with %d", p.code())
		}
		info := unfinished(t, s)
		return info.Jobs == 0 && info.Workers == 1
	})
	if info := unfinished(t, s); info.Dead != 0 {
		t.Errorf("%d dead", info.Dead)
	}

	first := cmd.Process.Pid
	if contained {
		first = onlyChild(t, first)
	}
	inside := func(argv []string) string {
		t.Helper()
		if contained {
			id := num(n.Image.User)
			argv = append([]string{"nsenter", "--target=" + num(first), "--pid", "--mount", "--root", "--wd=/tmp", "--setuid=" + id, "--setgid=" + id, "--"}, argv...)
		} else {
			argv = slices.Clone(argv)
			argv[0] = filepath.Join(root, argv[0])
			for i := range argv {
				argv[i] = strings.Replace(argv[i], "--pid=1", "--pid="+num(first), 1)
			}
		}
		c := exec.CommandContext(within(t), argv[0], argv[1:]...)
		c.Env = cmd.Env
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v\n%s", argv, err, out)
		}
		return string(out)
	}
	// What compose asks for health, and what Kubernetes runs before it sends TERM.
	if out := inside(readCompose(t).Services["workerd"].Healthcheck.Test[1:]); !strings.Contains(out, "running") {
		t.Errorf("status: %s", out)
	}
	if out := inside(preStop(t)); !strings.Contains(out, "idle") {
		t.Errorf("quiet: %s", out)
	}
	eventually(t, "the state quiet", func() bool { return slices.Equal(states(t, s), []string{"quiet"}) })

	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.code(); code != 0 {
		t.Errorf("the stop ends with %d", code)
	}
	if got := states(t, s); !slices.Equal(got, []string{"stopped"}) {
		t.Errorf("workers: %v, want one that said goodbye", got)
	}
}

// preStop is the command that Kubernetes runs in the container.
func preStop(t *testing.T) []string {
	t.Helper()
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Lifecycle struct {
							PreStop struct {
								Exec struct{ Command []string }
							} `yaml:"preStop"`
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "kubernetes/base/deployment.yaml")), &d); err != nil {
		t.Fatal(err)
	}
	return d.Spec.Template.Spec.Containers[0].Lifecycle.PreStop.Exec.Command
}
