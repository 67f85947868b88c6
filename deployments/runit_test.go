package deployments

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/internal/natstest"
)

// rehearsal is the shipped service, copied and supervised by Debian's runsv. Only settings are changed.
type rehearsal struct {
	t      *testing.T
	nats   *server.Server
	dir    string // the service's
	where  string // what the jobs know: where to write what they are, and to wait
	config string
	runsv  *proc
}

// stubborn is a job that ignores TERM, and leaves a process in a session of its own that does so too. It notes all pids
// and, for what does not concern it, waits until it is told to end.
const stubborn = `#!/bin/sh
trap "" TERM
setsid sh -c 'trap "" TERM; echo $$ >>pids; exec sleep 600' </dev/null >/dev/null 2>&1 &
echo $$ >>pids
echo "$JOB_ENTITY" >>runs
until [ -e finish ]; do sleep 0.05; done
kill -KILL $!
`

// newRehearsal starts the service; ok is false when there is no runit here.
func newRehearsal(t *testing.T, shutdown string) (r *rehearsal, ok bool) {
	t.Helper()
	for _, name := range []string{"runsv", "sv", "chpst", "svlogd"} {
		if _, ok := tool(t, name, "runit"); !ok {
			return nil, false
		}
	}
	base, err := os.MkdirTemp("", "seriatim-runit-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	r = &rehearsal{t: t, nats: withQueue(t), dir: filepath.Join(base, "workerd"), where: filepath.Join(base, "jobs"), config: filepath.Join(base, "workerd.yaml")}
	if err := os.CopyFS(r.dir, os.DirFS("runit/workerd")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{base, r.where, r.dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	user := ""
	if os.Getuid() == 0 {
		user = "nobody" // there is one everywhere
	}
	for dir, mode := range map[string]os.FileMode{base: 0o755, r.where: 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	// The shipped settings first: what is not set anew is as it is shipped.
	writeFile(t, filepath.Join(r.dir, "conf"), readFile(t, "runit/workerd/conf")+fmt.Sprintf(
		"\nWORKERD=%s\nCONFIG=%s\nRUN_AS=%s\nRUN_DIR=%s\nLOGS=%s\nexport SERIATIM_NATS_URL=%s\n",
		filepath.Join(binaries(t), "workerd"), r.config, user, filepath.Join(base, "run"), filepath.Join(base, "logs"), userURL(r.nats, "worker-ci")), 0o600)
	writeFile(t, filepath.Join(base, "job"), stubborn, 0o755)
	writeFile(t, r.config, fmt.Sprintf(`
queues: [ci]
http: 127.0.0.1:%d
shutdown: %s
log: {format: json}
pools:
  - {name: jobs, mode: exec, command: [sh, -c, 'cd %s && exec ../job'], concurrency: 2}
`, natstest.Port(t), shutdown, r.where), 0o644)
	r.runsv = start(t, exec.Command("runsv", r.dir))
	t.Cleanup(r.end)
	eventually(t, "runsv's pipe", func() bool { // sv knows nothing of a service before
		f, err := os.OpenFile(filepath.Join(r.dir, "supervise", "ok"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return false
		}
		_ = f.Close() // only whether it opens was asked
		return true
	})
	if out, err := r.sv("start"); err != nil {
		t.Fatalf("start: %v\n%s\n%s", err, out, r.log())
	}
	return r, true
}

// sv waits for as long as it takes, but not for ever.
func (r *rehearsal) sv(command ...string) (string, error) {
	args := append([]string{"-w", "60"}, append(command, r.dir)...)
	out, err := exec.Command("sv", args...).CombinedOutput()
	return string(out), err
}

// end takes the service down and runsv with it, whatever state it is in.
func (r *rehearsal) end() {
	writeFile(r.t, filepath.Join(r.where, "finish"), "", 0o644)
	if out, err := r.sv("force-shutdown"); err != nil {
		r.t.Errorf("shutdown: %v\n%s", err, out)
	}
	r.runsv.code()
	if r.t.Failed() {
		r.t.Log(r.log())
	}
	for _, pid := range r.pids() {
		eventually(r.t, "the end of process "+num(pid), func() bool { return gone(pid) })
	}
}

func (r *rehearsal) log() string {
	text, _ := os.ReadFile(filepath.Join(filepath.Dir(r.dir), "logs", "current"))
	return string(text)
}

// pid is workerd's.
func (r *rehearsal) pid() int {
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(r.t, filepath.Join(r.dir, "supervise", "pid"))))
	if err != nil {
		r.t.Fatal(err)
	}
	return pid
}

// pids are all processes of jobs so far; runs are how often a job ran.
func (r *rehearsal) pids() (list []int) {
	text, _ := os.ReadFile(filepath.Join(r.where, "pids"))
	for _, line := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, pid)
	}
	return list
}

func (r *rehearsal) runs() int {
	text, _ := os.ReadFile(filepath.Join(r.where, "runs"))
	return len(strings.Fields(string(text)))
}

// running waits until the job has run so many times and has its two processes, and returns them and all of workerd's.
func (r *rehearsal) running(times int) (life []int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("run %d of the job", times), func() bool { return r.runs() == times && len(r.pids()) == 2*times })
	life = append(r.pids(), r.pid())
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.pid(), r.pid()))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range strings.Fields(string(children)) {
		pid, _ := strconv.Atoi(c) // the kernel's
		life = append(life, pid)
	}
	return life
}

// nothingLeft says that of a life no process is alive.
func (r *rehearsal) nothingLeft(life []int) {
	r.t.Helper()
	for _, pid := range life {
		if !gone(pid) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			r.t.Errorf("process %d is left:\n%s", pid, status)
		}
	}
}

// `sv restart` with a job that ignores TERM: nothing of the old life is left when the new one is up, the job was handed
// back (no lease had to pass, nothing counts against it) and runs again.
func TestRunitRestart(t *testing.T) {
	r, ok := newRehearsal(t, "{timeout: 1s, kill_after: 1s}")
	if !ok {
		return
	}
	publish(t, r.nats, "build.1", "")
	life := r.running(1)
	// sv counts seconds: a service that began in the one in which it is restarted passes for the new one, until runsv has
	// heard of it.
	eventually(t, "the next second", func() bool {
		began, err := os.Stat(filepath.Join(r.dir, "supervise", "pid"))
		return err == nil && time.Now().Unix() > began.ModTime().Unix()
	})
	if out, err := r.sv("restart"); err != nil {
		t.Fatalf("restart: %v\n%s", err, out)
	}
	r.nothingLeft(life)
	r.running(2)
	if got := states(t, r.nats); !slices.Contains(got, "stopped") || slices.Contains(got, "lost") {
		t.Errorf("workers: %v", got)
	}
	if strings.Contains(r.log(), "another process has the port") {
		t.Error("the port was busy")
	}
	// The job may end now, and the service goes down in order.
	writeFile(t, filepath.Join(r.where, "finish"), "", 0o644)
	eventually(t, "the job's end", func() bool { return unfinished(t, r.nats).Jobs == 0 })
	if out, err := r.sv("stop"); err != nil {
		t.Errorf("stop: %v\n%s", err, out)
	}
}

// `sv force-stop` kills workerd in the middle of its stop: what it ran dies with it, and the next start finds neither its
// port nor its folder taken.
func TestRunitForceStop(t *testing.T) {
	r, ok := newRehearsal(t, "{timeout: 10m, kill_after: 3s}")
	if !ok {
		return
	}
	publish(t, r.nats, "build.1", "")
	life := r.running(1)
	out, err := exec.Command("sv", "-w", "1", "force-stop", r.dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "kill") {
		t.Errorf("force-stop killed nothing: %v\n%s", err, out)
	}
	eventually(t, "the end of the whole life", func() bool { return !slices.ContainsFunc(life, func(pid int) bool { return !gone(pid) }) })
	if out, err := r.sv("start"); err != nil {
		t.Fatalf("start: %v\n%s", err, out)
	}
	r.running(2) // handed back by the engine that lost its guardian, or when the lease is over
	if info := unfinished(t, r.nats); info.Dead != 0 || info.Jobs != 1 {
		t.Errorf("%+v", info)
	}
}

// A second `sv term` while workerd stops does not end its jobs: they finish. `sv interrupt` does.
func TestRunitTermTwice(t *testing.T) {
	r, ok := newRehearsal(t, "{timeout: 10m, kill_after: 1s}")
	if !ok {
		return
	}
	publish(t, r.nats, "build.1", "")
	life := r.running(1)
	for range 2 {
		if out, err := exec.Command("sv", "term", r.dir).CombinedOutput(); err != nil {
			t.Fatalf("term: %v\n%s", err, out)
		}
		eventually(t, "the stop", func() bool { return slices.Contains(states(t, r.nats), "stopping") })
	}
	writeFile(t, filepath.Join(r.where, "finish"), "", 0o644)
	eventually(t, "the end", func() bool { return gone(life[2]) })
	if info := unfinished(t, r.nats); info.Jobs != 0 || r.runs() != 1 {
		t.Errorf("the job did not finish in its first run: %d jobs, %d runs", info.Jobs, r.runs())
	}

	// runsv has started it anew. Now a job that is not to be waited for.
	if out, err := r.sv("check"); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(r.where, "finish")); err != nil {
		t.Fatal(err)
	}
	publish(t, r.nats, "build.2", "")
	life = r.running(2)
	before := len(states(t, r.nats))
	for _, command := range []string{"term", "interrupt"} {
		if out, err := exec.Command("sv", command, r.dir).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		if command == "term" {
			eventually(t, "the stop", func() bool { return slices.Contains(states(t, r.nats), "stopping") })
		}
	}
	eventually(t, "the end of the whole life", func() bool { return !slices.ContainsFunc(life, func(pid int) bool { return !gone(pid) }) })
	r.running(3)
	if after := states(t, r.nats); len(after) != before+1 || slices.Contains(after, "lost") {
		t.Errorf("workers: %v", after)
	}
}

// A wrong configuration is said once, and not tried again every second.
func TestRunitWrongConfiguration(t *testing.T) {
	r, ok := newRehearsal(t, "{timeout: 1s, kill_after: 1s}")
	if !ok {
		return
	}
	right := readFile(t, r.config)
	writeFile(t, r.config, "queues: [ci]\npool: nonsense\n", 0o644)
	if err := syscall.Kill(r.pid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reason", func() bool { return strings.Contains(r.log(), "wrong configuration; not started again") })
	eventually(t, "the service down", func() bool {
		out, _ := exec.Command("sv", "status", r.dir).CombinedOutput()
		return strings.HasPrefix(string(out), "down:") && !strings.Contains(string(out), "want up")
	})
	if n := strings.Count(r.log(), "wrong configuration"); n != 1 {
		t.Errorf("tried %d times", n)
	}
	writeFile(t, r.config, right, 0o644)
	if out, err := r.sv("start"); err != nil {
		t.Errorf("start: %v\n%s", err, out)
	}
}
