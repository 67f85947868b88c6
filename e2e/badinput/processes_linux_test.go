package badinput

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// nobody is a user that no process runs as, for a limit that is counted by user.
const nobody = 2_000_000_017

// unshared starts a command line with namespaces of its own, such as anybody may make.
func unshared(flags string) string {
	if os.Getuid() != 0 {
		flags += " -Ur"
	}
	return "unshare " + flags + " "
}

// under is the arguments of a shell that runs a script, in the site's folder, with "$@" for a workerd.
func (s *site) under(script string, args ...string) []string {
	s.t.Helper()
	workerd := rig.Binary(s.t, fleet.Build{Name: "workerd"})
	return append([]string{"-c", `cd "$0" && ` + script, s.dir, workerd, "--log-format", "json"}, args...)
}

// endsUnder runs a workerd by a script, and it ends by itself.
func (s *site) endsUnder(script string, args ...string) said {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), rig.Bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", s.under(script, args...)...)
	cmd.Env = s.env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return said{s.t, script, cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// startUnder starts a workerd by a script; the whole of it is killed when the test ends.
func (s *site) startUnder(script string, args ...string) live {
	s.t.Helper()
	p, err := fleet.Start(fleet.Program{
		Name: "workerd", Path: "/bin/sh", Args: s.under(script, args...), Env: s.env(), Log: filepath.Join(s.t.TempDir(), "log"), Mark: s.dir,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	w := live{p, s}
	s.t.Cleanup(func() {
		if err := p.KillTree(); err != nil {
			s.t.Error(err)
		}
		if s.t.Failed() {
			s.t.Logf("workerd said:\n%s", w.log())
		}
	})
	return w
}

// openTo gives the site's folder to another user, who may run the programs too.
func (s *site) openTo(uid int) {
	s.t.Helper()
	for _, dir := range []string{filepath.Dir(s.dir), filepath.Dir(rig.Binary(s.t, fleet.Build{Name: "workerd"}))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range append([]string{"."}, names(entries)...) {
		if err := os.Chown(filepath.Join(s.dir, name), uid, uid); err != nil {
			s.t.Fatal(err)
		}
	}
}

func names(entries []os.DirEntry) (list []string) {
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// processes are those that the site's programs have started, by the condition.
func (s *site) processes(is func(args []string) bool) (list []proc.Stat) {
	_ = proc.Each(func(p proc.Stat) {
		if mark, _, err := proc.Env(p.PID, fleet.Mark); err == nil && mark == s.dir && !p.Dead() && is(proc.Args(p.PID)) {
			list = append(list, p)
		}
	})
	return list
}

// engine is the engine's process.
func (s *site) engine() proc.Stat {
	s.t.Helper()
	list := s.processes(func(args []string) bool { return len(args) > 0 && args[0] == guardian.EngineName })
	if len(list) != 1 {
		s.t.Fatalf("%d engines", len(list))
	}
	return list[0]
}

// ended is a line of the log that says how a job ended.
type ended struct {
	Message, Entity, Outcome, Error string
	Attempt                         int
}

func (w live) ends() (list []ended) {
	for line := range strings.Lines(w.log()) {
		var e ended
		if json.Unmarshal([]byte(line), &e) == nil && e.Message == "end" {
			list = append(list, e)
		}
	}
	return list
}

// A limit of processes is reached while jobs run: no job is lost or blamed, the log says what to raise, and workerd itself
// lives on and runs the jobs when there is room again.
func TestFullProcessTable(t *testing.T) {
	s := newSite(t)
	const jobs, room = 40, 8
	// Nothing in it needs another process: it waits for a line of a pipe with a name.
	s.write("run.sh", "#!/bin/sh\nread -r go < gate\necho \"$JOB_ENTITY\" >> ran\n")
	if err := errors.Join(unix.Mkfifo(filepath.Join(s.dir, "gate"), 0o600), os.Chmod(filepath.Join(s.dir, "gate"), 0o666)); err != nil {
		t.Fatal(err)
	}
	gate, err := os.OpenFile(filepath.Join(s.dir, "gate"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	pass := func(n int) {
		t.Helper()
		if _, err := gate.WriteString(strings.Repeat("go\n", n)); err != nil {
			t.Fatal(err)
		}
	}
	script := `exec unshare -Ur "$@"` // in a user namespace its own processes are counted
	if os.Getuid() == 0 {
		s.openTo(nobody)
		script = fmt.Sprintf(`exec setpriv --reuid=%d --regid=%d --clear-groups "$@"`, nobody, nobody)
	}
	w := s.startUnder(script, "--queue", "ci", "--concurrency", "30", "--", "./run.sh")
	w.says(`"message":"running"`)
	s.coordinator("job", "publish", "ci", "warm.up").must(0)
	pass(1)
	s.await(0, 0)

	engine := s.engine()
	threads := engine.Threads
	if top, err := proc.Read(w.PID()); err != nil {
		t.Fatal(err)
	} else {
		threads += top.Threads
	}
	limit := func(n string) {
		t.Helper()
		for _, pid := range []int{w.PID(), engine.PID} {
			argv := []string{"prlimit", "--pid", fmt.Sprint(pid), "--nproc=" + n + ":"} // the soft one
			if os.Getuid() == 0 {
				argv = append([]string{"setpriv", fmt.Sprintf("--reuid=%d", nobody), fmt.Sprintf("--regid=%d", nobody), "--clear-groups"}, argv...)
			}
			if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", argv, err, out)
			}
		}
	}
	before := hardLimit(t, engine.PID)
	limit(fmt.Sprint(threads + room))
	var lines strings.Builder
	for i := range jobs {
		fmt.Fprintf(&lines, "{\"entity\":\"build.%d\",\"data\":1}\n", i)
	}
	s.coordinator("job", "import", "ci", s.write("jobs.jsonl", lines.String())).must(0)
	w.says(`"level":"warn"`, "start ./run.sh: fork/exec ./run.sh: resource temporarily unavailable", `"hint":"there are too many processes`, "ulimit -u", "TasksMax", "pids.max", `"message":"child start failed"`)
	refused := func() (n int) {
		for _, e := range w.ends() {
			if e.Outcome == "interrupted" {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(rig.Bound); refused() < 2*jobs; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) || w.Ended() {
			t.Fatalf("%d starts were refused; ended: %v", refused(), w.Ended())
		}
	}
	limit(before)
	pass(jobs)
	s.await(0, 0)
	if now := s.engine(); now.PID != engine.PID {
		t.Error("the engine did not live through it")
	}
	ran := strings.Fields(s.read("ran"))
	slices.Sort(ran)
	if n := len(ran); n != jobs+1 || len(slices.Compact(ran)) != n {
		t.Errorf("%d runs of %d jobs: %v", n, jobs+1, ran)
	}
	for _, e := range w.ends() {
		if e.Attempt != 1 || e.Outcome != "done" && !strings.Contains(e.Error, "resource temporarily unavailable") {
			t.Errorf("a job ended so: %+v", e)
		}
	}
	t.Logf("%d starts were refused, %d jobs done at their first attempt", refused(), len(ran))
	if err := w.Stop(rig.Bound); err != nil {
		t.Error(err)
	}
}

// hardLimit is how many processes a process's user may be allowed to have.
func hardLimit(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Max processes"); ok {
			return strings.Fields(rest)[1]
		}
	}
	t.Fatal("it has no limit of processes")
	return ""
}

// Without a process table nothing starts, and that is told once.
func TestUnreadableProcessTable(t *testing.T) {
	s := newSite(t)
	s.coordinator("job", "publish", "ci", "build.1").must(0)
	s.endsUnder(unshared("-m")+`sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$@"`, "--queue", "ci", "--", "true").must(1,
		`^workerd: read /proc: the process table cannot be read: what jobs leave running could not be found and ended, and no memory limit kept `,
		`^hint: mount it: mount -t proc proc /proc`)
	s.await(1, 0)
}

// A process table that goes away later: memory limits are not kept any more, which is told; jobs go on.
func TestProcessTableThatGoesAway(t *testing.T) {
	s := newSite(t)
	s.write("c.yaml", "queues: [ci]\npools:\n  - {name: a, command: [./run.sh], memory: {hard: 1GiB, check: 200ms}}\n")
	s.write("run.sh", "#!/bin/sh\necho \"$JOB_ENTITY\" >> ran\n")
	w := s.startUnder("exec "+unshared("-m")+`"$@"`, "--config", "c.yaml")
	w.says(`"message":"running"`)
	flags := []string{"-t", fmt.Sprint(w.PID()), "-m"}
	if os.Getuid() != 0 {
		flags = append(flags, "-U", "--preserve-credentials")
	}
	if out, err := exec.CommandContext(t.Context(), "nsenter", append(flags, "mount", "-t", "tmpfs", "none", "/proc")...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.says(`"level":"error"`, `"message":"memory cannot be read: the pool's memory limits are not kept"`)
	s.coordinator("job", "publish", "ci", "build.1").must(0)
	s.await(0, 0)
	if err := w.Stop(rig.Bound); err != nil {
		t.Error(err)
	}
}

// Where other users' processes are hidden, those of the jobs are not: limits are kept, and what jobs leave is found.
func TestHiddenProcesses(t *testing.T) {
	s := newSite(t)
	s.write("c.yaml", "queues: [ci]\npools:\n  - {name: a, command: [./run.sh], concurrency: 2, memory: {hard: 40MiB, hard_grace: 1s, check: 200ms}}\n")
	s.write("run.sh", `#!/bin/sh
case $JOB_ENTITY in
hog.*) (head -c 90000000 /dev/zero; sleep 600) | tail -c 90000000 > /dev/null ;;
*) setsid sleep 777.7 & ;;
esac
`)
	become := ""
	if os.Getuid() == 0 {
		s.openTo(nobody)
		become = fmt.Sprintf("setpriv --reuid=%d --regid=%d --clear-groups ", nobody, nobody)
	}
	w := s.startUnder("exec "+unshared("-mpf --kill-child=KILL")+`sh -c 'mount -t proc -o hidepid=2 proc /proc && exec `+become+`"$@"' sh "$@"`, "--config", "c.yaml")
	w.says(`"message":"running"`)
	sleepers := func() int {
		return len(s.processes(func(args []string) bool { return slices.Contains(args, "777.7") }))
	}
	s.coordinator("job", "publish", "ci", "hog.1").must(0)
	w.says("a child uses too much memory", "above the hard limit of 40.0 MiB")
	for i := range 3 {
		s.coordinator("job", "publish", "ci", fmt.Sprintf("leaves.%d", i)).must(0)
	}
	s.await(0, 1) // a hog that does not change its ways is dead in the end
	if n := sleepers(); n != 0 {
		t.Errorf("%d processes that jobs left live on", n)
	}
	for _, e := range w.ends() {
		if strings.HasPrefix(e.Entity, "hog.") != (e.Outcome == "memory") {
			t.Errorf("a job ended so: %+v", e)
		}
	}
	first := s.processes(func(args []string) bool { return len(args) > 0 && strings.HasSuffix(args[0], "/workerd") })
	if len(first) != 1 || syscall.Kill(first[0].PID, syscall.SIGKILL) != nil { // the first process of its namespace: all end
		t.Errorf("%d first processes", len(first))
	}
}
