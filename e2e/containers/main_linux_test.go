package containers

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// The test binary is also other programs, by their first argument: an init, and processes that hop.
const (
	asInit      = "containers-init"
	hopInGroup  = "containers-hop-in-group"
	hopSessions = "containers-hop-sessions"
)

func TestMain(m *testing.M) {
	proctest.Main()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case asInit:
			initProcess(os.Args[2:])
		case hopInGroup, hopSessions:
			hop(os.Args[1] == hopSessions)
		}
	}
	rig.Main(m)
}

// initProcess is an init such as tini: it runs a program, forwards TERM to it, and exits as it does.
func initProcess(argv []string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go func() { _ = cmd.Process.Signal(<-term) }()
	_ = cmd.Wait() // its status follows
	os.Exit(cmd.ProcessState.ExitCode())
}

// hop starts its successor and exits, for as long as the test's folder is there, and a bounded number of times.
func hop(session bool) {
	file := os.Getenv("HOPS")
	if info, err := os.Stat(file); err == nil && info.Size() > 20_000 {
		os.Exit(0)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		os.Exit(0)
	}
	_, _ = f.WriteString("hop\n")
	_, _ = syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: session}})
	os.Exit(0)
}

// self is this program's file.
func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// scene is a system, with what its jobs have started so far.
type scene struct {
	*rig.Rig
	t      *testing.T
	starts []record.Event
}

func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	s := &scene{Rig: rig.New(t, flags...), t: t}
	s.Tail.On = func(e record.Event) {
		if e.What == record.Start {
			s.starts = append(s.starts, e)
		}
	}
	return s
}

// startsOn waits until so many jobs have started on a worker, "" for any, since from.
func (s *scene) startsOn(worker string, n int, from int64) (found []record.Event) {
	s.t.Helper()
	s.Await(fmt.Sprintf("%d starts on %s", n, worker), rig.Bound, func(*fleet.Tail) bool {
		found = nil
		for _, e := range s.starts {
			if e.T > from && (worker == "" || e.Worker == worker) {
				found = append(found, e)
			}
		}
		return len(found) >= n
	})
	return found
}

// jobs are so many of as many entities, which wait for a file.
func (s *scene) jobs(n int) (release func()) {
	s.t.Helper()
	list := make([]rig.Job, n)
	for i := range list {
		list[i] = rig.Job{Entity: fmt.Sprintf("e.%d", i), Until: s.Path("end")}
	}
	s.Import(list...)
	return func() { s.write("end", "") }
}

func (s *scene) write(name, text string) string {
	s.t.Helper()
	rig.Script(s.t, s.Path(name), text)
	return s.Path(name)
}

func (s *scene) read(name string) string {
	text, _ := os.ReadFile(s.Path(name)) // none yet
	return string(text)
}

// start wraps a host's workerd into a script, in which "$workerd" "$@" is what would have been started.
func (s *scene) wrap(h *rig.Host, script string) {
	s.t.Helper()
	h.Binary = s.write(h.Name+".sh", "#!/bin/sh\nworkerd="+h.Binary+"\n"+script+"\n")
}

// openTo lets another user read and write all that the rig has.
func (s *scene) openTo(uid int) {
	s.t.Helper()
	for _, dir := range []string{filepath.Dir(s.Dir), filepath.Dir(rig.Binary(s.t, fleet.Build{Name: "child"}))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, path := range []string{s.Dir, s.Path("locks")} {
		if err := os.Chown(path, uid, uid); err != nil {
			s.t.Fatal(err)
		}
	}
}

// said are the lines of a workerd's log with this message.
func said(t *testing.T, h *rig.Host, message string) (lines []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(h.Proc.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["message"] == message {
			lines = append(lines, fields)
		}
	}
	return lines
}

func replaceOnce(t *testing.T, text, from, to string) string {
	t.Helper()
	if strings.Count(text, from) != 1 {
		t.Fatalf("%q is not once in\n%s", from, text)
	}
	return strings.Replace(text, from, to, 1)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true in time: %s", what)
		}
	}
}

// childOf waits for a living child of a process that the condition holds for.
func childOf(t *testing.T, parent int, is func(pid int) bool) (pid int) {
	t.Helper()
	eventually(t, "the process has a child", func() bool {
		_ = proc.Each(func(s proc.Stat) {
			if s.PPID == parent && !s.Dead() && is(s.PID) {
				pid = s.PID
			}
		})
		return pid != 0
	})
	return pid
}

// engineOf is the engine's pid of a workerd that is not in a container.
func engineOf(t *testing.T, h *rig.Host) int {
	t.Helper()
	return childOf(t, h.Proc.PID(), func(pid int) bool {
		args := proc.Args(pid)
		return len(args) > 0 && args[0] == guardian.EngineName
	})
}

// carried says whether a process has an entry in its environment.
func carried(name, value string) (found bool) {
	_ = proc.Each(func(s proc.Stat) {
		if v, _, err := proc.Env(s.PID, name); err == nil && v == value {
			found = true
		}
	})
	return found
}
