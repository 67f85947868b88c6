package guardian_test

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

func init() { others["tini"] = actAsTini }

// actAsTini is an init: it runs its arguments as a guardian, forwards TERM, and exits with their status.
func actAsTini() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Env = append(os.Environ(), actAs+"=guardian")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go func() { _ = cmd.Process.Signal(<-term) }()
	_ = cmd.Wait() // its status follows
	os.Exit(cmd.ProcessState.ExitCode())
}

// first makes a command line the first process of a pid namespace of its own, as it would be in a container.
func first(t *testing.T, args ...string) setting {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func(cmd *exec.Cmd) {
		flags := []string{"unshare", "-pf", "--kill-child=KILL", "--mount-proc"}
		if os.Getuid() != 0 {
			flags = append(flags, "-Ur")
		}
		cmd.Path, cmd.Args = unshare, flags
		for _, arg := range args {
			cmd.Args = append(cmd.Args, strings.ReplaceAll(arg, "SELF", exe))
		}
	}
}

// init1 waits for the first process of the namespace and returns its pid as it is seen from here.
func (g *top) init1() (pid int) {
	g.t.Helper()
	eventually(g.t, "the namespace has a first process", func() bool {
		_ = proc.Each(func(s proc.Stat) {
			if s.PPID == g.cmd.Process.Pid {
				pid = s.PID
			}
		})
		return pid != 0
	})
	return pid
}

func TestScenario09AsProcess1(t *testing.T) {
	// 500 orphans come to the guardian, from what a shell left to it, and 500 to the engine, from each of its two jobs.
	g := begin(t, "orphans", first(t, "sh", "-c", `(n=0; while [ $n -lt 500 ]; do (sleep 0.5 &); n=$((n+1)); done) & exec "SELF"`))
	g.pid = 1
	g.engine(1)
	top := g.init1()
	for i := range 2 {
		if said := g.hears(fmt.Sprintf("engine 1 job %d", i), 1); !strings.HasPrefix(said, "failed true exited with status 9") {
			t.Errorf("a job ended as %q", said)
		}
	}
	eventually(t, "no zombies are left", func() bool { return proctest.Zombies(t, top) == 0 })
	if err := syscall.Kill(top, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if s := g.status(); s != 0 {
		t.Errorf("TERM ended it with status %d", s)
	}
	if g.counts("guardian signals are swallowed") != 0 {
		t.Error("process 1 was told that it gets no signals")
	}
}

func TestProcess1RestartsItsEngine(t *testing.T) {
	g := begin(t, "trees idle", first(t, "SELF"))
	g.pid = 1
	g.engine(1)
	top := g.init1()
	eventually(t, "two trees are there", func() bool { return len(proctest.Members(t, g.dir)) == 10 })
	engine := 0
	_ = proc.Each(func(s proc.Stat) {
		if args := proc.Args(s.PID); s.PPID == top && len(args) > 0 && args[0] == "seriatim-engine" {
			engine = s.PID
		}
	})
	if err := syscall.Kill(engine, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.engine(2)
	left := 0
	_ = proc.Each(func(s proc.Stat) {
		if s.PPID == top {
			left++
		}
	})
	if left != 1 {
		t.Errorf("process 1 has %d children beside the new engine", left-1)
	}
	if err := syscall.Kill(top, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if s := g.status(); s != 0 {
		t.Errorf("the status is %d", s)
	}
}

func TestScenario10AShellAsProcess1(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		warns bool
	}{
		"dash -c":         {[]string{"dash", "-c", `"SELF"`}, true},
		"dash -c exec":    {[]string{"dash", "-c", `exec "SELF"`}, false},
		"a script":        {[]string{"dash", "-s"}, true},
		"the exec form":   {[]string{"SELF"}, false},
		"tini":            {[]string{"env", actAs + "=tini", "SELF", "SELF"}, false},
		"tini, and dash":  {[]string{"env", actAs + "=tini", "SELF", "dash", "-c", `"SELF"; :`}, true},
		"tini, dash exec": {[]string{"env", actAs + "=tini", "SELF", "dash", "-c", `exec "SELF"`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			g := begin(t, "idle", first(t, c.args...), func(cmd *exec.Cmd) {
				if name == "a script" {
					cmd.Stdin = strings.NewReader(exe + "\nexit $?\n")
				}
			})
			g.hears("engine 1 begins", 1)
			if n := g.counts("guardian signals are swallowed"); (n == 1) != c.warns || n > 1 {
				t.Errorf("%d warnings", n)
			}
			if c.warns {
				return
			}
			if err := syscall.Kill(g.init1(), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if s := g.status(); s != 0 {
				t.Errorf("the status is %d", s)
			}
		})
	}
}

// Process 1's death ends everything, by the kernel.
func TestKillProcess1(t *testing.T) {
	g := begin(t, "trees", first(t, "SELF"))
	eventually(t, "two trees are there", func() bool { return len(proctest.Members(t, g.dir)) == 10 })
	since := time.Now()
	if err := syscall.Kill(g.init1(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := g.status(); s == 0 {
		t.Error("it ended with status 0")
	}
	eventually(t, "nothing carries its folder", func() bool { return !carried(folder + "=" + g.dir) })
	t.Logf("the namespace was empty after %v", time.Since(since))
}

func carried(entry string) bool {
	name, value, _ := strings.Cut(entry, "=")
	found := false
	_ = proc.Each(func(s proc.Stat) {
		if v, _, err := proc.Env(s.PID, name); err == nil && v == value {
			found = true
		}
	})
	return found
}
