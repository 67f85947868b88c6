package deployments

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// composeFile is as much of the Compose Specification as the file uses; an unknown key is an error.
type composeFile struct {
	Name     string             `yaml:"name"`
	Image    service            `yaml:"x-image"`
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Entrypoint  []string          `yaml:"entrypoint"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	Volumes     []string          `yaml:"volumes"`
	Ports       []string          `yaml:"ports"`
	DependsOn   map[string]struct {
		Condition string `yaml:"condition"`
	} `yaml:"depends_on"`
	Healthcheck struct {
		Test        []string      `yaml:"test"`
		Interval    time.Duration `yaml:"interval"`
		Timeout     time.Duration `yaml:"timeout"`
		Retries     int           `yaml:"retries"`
		StartPeriod time.Duration `yaml:"start_period"`
	} `yaml:"healthcheck"`
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
	Init            bool          `yaml:"init"`
	Restart         string        `yaml:"restart"`
	ReadOnly        bool          `yaml:"read_only"`
	Tmpfs           []string      `yaml:"tmpfs"`
	CapDrop         []string      `yaml:"cap_drop"`
	SecurityOpt     []string      `yaml:"security_opt"`
	Profiles        []string      `yaml:"profiles"`
}

// variables are ${NAME:-default}; here all are unset.
var variables = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

func readCompose(t *testing.T) (c composeFile) {
	t.Helper()
	// Once loosely, so that << is taken apart, and then strictly.
	var loose map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, "compose/compose.yaml")), &loose); err != nil {
		t.Fatal(err)
	}
	flat, err := yaml.Marshal(loose)
	if err != nil {
		t.Fatal(err)
	}
	strictly(t, "compose/compose.yaml", variables.ReplaceAllString(string(flat), "$1"), &c)
	return c
}

// The services fit together: what is mounted is there, who depends on whom, how long a stop may take, and no port but
// NATS' on loopback.
func TestComposeFile(t *testing.T) {
	n := theNumbers(t)
	c := readCompose(t)
	w := c.Services["workerd"]
	if need := n.stop(n.Shutdown.Timeout, n.Shutdown.KillAfter); w.StopGracePeriod < need {
		t.Errorf("workerd is killed after %s, and a stop may take %s", w.StopGracePeriod, need)
	}
	if len(w.Entrypoint)+len(w.Command) != 0 || !w.ReadOnly || !slices.Equal(w.CapDrop, []string{"ALL"}) {
		t.Errorf("workerd: %+v", w)
	}
	if _, err := os.Stat(filepath.Join("compose", w.Build.Context, w.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	for name, s := range c.Services {
		for on := range s.DependsOn {
			if c.Services[on].Image == "" {
				t.Errorf("%s depends on %s", name, on)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			_, named := c.Volumes[from]
			if _, err := os.Stat(filepath.Join("compose", from)); err != nil && !named {
				t.Errorf("%s: %s", name, v)
			}
		}
		for _, p := range s.Ports {
			if p != fmt.Sprintf("127.0.0.1:%d:%d", n.NATS.Client, n.NATS.Client) {
				t.Errorf("%s opens %s", name, p)
			}
		}
		if len(s.Entrypoint) > 0 && s.Entrypoint[0] != "/usr/local/bin/coordinator" {
			t.Errorf("%s runs %v", name, s.Entrypoint)
		}
	}
	if h := c.Services["nats"].Healthcheck.Test; !strings.Contains(strings.Join(h, " "), fmt.Sprintf(":%d/", n.NATS.Monitor)) {
		t.Errorf("health of NATS: %v", h)
	}
	if h := w.Healthcheck.Test; h[0] != "CMD" || h[1] != entryPoint(t)[0] || h[2] != "status" {
		t.Errorf("health of workerd: %v", h)
	}
}

// What the services run does what it should, one after the other as their dependencies say: the server with the file's
// passwords, the queue, workerd with the mounted configuration, a job published by the file's own hint; then the stop.
// The containers themselves are not part of it.
func TestComposeServicesRun(t *testing.T) {
	n := theNumbers(t)
	c := readCompose(t)
	for name, value := range c.Services["nats"].Environment {
		t.Setenv(name, value)
	}
	command := c.Services["nats"].Command
	s := startServer(t, shipped(t, filepath.Base(command[len(command)-1])))
	in := func(env map[string]string) (list []string) {
		list = append(os.Environ(), "SERIATIM_RUN_DIR="+t.TempDir(), "SERIATIM_HTTP=127.0.0.1:0")
		for name, value := range env {
			list = append(list, name+"="+strings.Replace(value, "@nats:4222", "@"+s.Addr().String(), 1))
		}
		return list
	}
	coordinator := func(args ...string) string {
		t.Helper()
		program := filepath.Join(binaries(t), "coordinator") // building it is not bounded, using it is
		cmd := exec.CommandContext(within(t), program, args...)
		cmd.Env = in(c.Services["coordinator"].Environment)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("coordinator %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	coordinator(c.Services["queue-ci"].Command...)
	coordinator(c.Services["queue-ci"].Command...) // a second `up` finds it made
	if out := coordinator(c.Services["coordinator"].Command...); !strings.Contains(out, "ci") {
		t.Errorf("queues: %s", out)
	}

	w := c.Services["workerd"]
	mounted, _, _ := strings.Cut(w.Volumes[0], ":")
	cmd := exec.Command(filepath.Join(binaries(t), "workerd"), "--config", filepath.Join("compose", mounted), "--log-format", "json")
	cmd.Env = in(w.Environment)
	p := start(t, cmd)
	eventually(t, "jobs are taken", func() bool { return strings.Contains(p.out.String(), `"message":"running"`) || !p.alive() })

	for _, path := range []string{n.HTTP.Live, n.HTTP.Ready, n.HTTP.Startup, n.HTTP.Metrics} {
		if code := get(t, p, path); code != http.StatusOK {
			t.Errorf("%s answers %d", path, code)
		}
	}

	hint := regexp.MustCompile(`run --rm coordinator (job publish .*)`).FindStringSubmatch(readFile(t, "compose/compose.yaml"))
	coordinator(strings.Fields(hint[1])...)
	eventually(t, "the job's words", func() bool { return strings.Contains(p.out.String(), "default of build.123: hello") })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.code(); code != 0 {
		t.Errorf("the stop ends with %d", code)
	}
	if out := coordinator("worker", "ls", "--json"); !strings.Contains(out, `"stopped"`) {
		t.Errorf("workers: %s", out)
	}
}

// get asks a running workerd, whose log says where it listens.
func get(t *testing.T, p *proc, path string) int {
	t.Helper()
	address := regexp.MustCompile(`"address":"([^"]+)"`).FindStringSubmatch(p.out.String())
	if address == nil {
		t.Fatal("it listens nowhere")
	}
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://"+address[1]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}
