package guardian_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// rounds is how often the deaths are tried; SERIATIM_ROUNDS says otherwise.
func rounds(t *testing.T) int {
	if text := os.Getenv("SERIATIM_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("SERIATIM_ROUNDS is %q, not a number above 0", text)
		}
		return n
	}
	return 3
}

// users runs a test as root and as an ordinary user, or as who it is.
func users(t *testing.T, test func(t *testing.T, begin func(words string) *top)) {
	t.Run("as "+strconv.Itoa(os.Getuid()), func(t *testing.T) {
		test(t, func(words string) *top { return begin(t, words) })
	})
	if os.Getuid() == 0 {
		t.Run("as an ordinary user", func(t *testing.T) {
			test(t, func(words string) *top {
				dir := shared(t)
				return beginIn(t, words, dir, asUser(t, dir))
			})
		})
	}
}

// kills does something deadly in rounds and prints the longest time until the trees were dead.
func kills(t *testing.T, deadly func(g *top, engine int)) {
	users(t, func(t *testing.T, begin func(string) *top) {
		var longest time.Duration
		n := rounds(t)
		for range n {
			g := begin("trees idle")
			engine := g.engine(1)
			all := proctest.Await(t, g.dir, 2)
			since := time.Now()
			deadly(g, engine)
			longest = max(longest, proctest.AwaitDead(t, all, since))
			eventually(t, "the engine is dead", func() bool { return dead(engine) })
		}
		t.Logf("%d rounds, 10 processes each: all dead after %v at most", n, longest)
	})
}

func TestScenario01KillTheTop(t *testing.T) {
	kills(t, func(g *top, _ int) {
		g.signal(syscall.SIGKILL)
		g.hears("engine 1 unguarded", 1)
	})
}

func TestScenario02KillTheGroupOfTheTop(t *testing.T) {
	kills(t, func(g *top, _ int) {
		if err := syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	})
}

func TestScenario03KillTheEngine(t *testing.T) {
	kills(t, func(g *top, engine int) {
		if err := syscall.Kill(engine, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if said := g.hears("engine 2 begins", 1); !strings.HasSuffix(said, "true crashed 1 session-1") {
			t.Errorf("the next engine was told %q", said)
		}
		if left := proctest.Living(proctest.Members(t, g.dir)); left != "" {
			t.Errorf("%s lived when the next engine was told what is to be handed back", left)
		}
	})
}

func TestScenario04KillBoth(t *testing.T) {
	users(t, func(t *testing.T, begin func(string) *top) {
		for range rounds(t) {
			other := begin("trees")
			others := proctest.Await(t, other.dir, 2)
			g := begin("trees")
			engine := g.engine(1)
			all := proctest.Await(t, g.dir, 2)
			// Stopped first, so that neither sees the other die.
			g.signal(syscall.SIGSTOP)
			if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			g.signal(syscall.SIGKILL)
			if err := syscall.Kill(engine, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-g.done
			eventually(t, "the children are dead", func() bool { return !strings.Contains(proctest.Living(all), proctest.W) })
			left := proctest.Living(all) // another workerd that starts on this host at this moment sweeps too
			since := time.Now()
			again := begin("idle")
			again.engine(1)
			took := proctest.AwaitDead(t, all, since)
			if lives := proctest.Living(others); len(lives) != len(others) {
				t.Errorf("of another instance's only %q live", lives)
			}
			t.Logf("%s swept %v after the start", left, took)
			again.signal(syscall.SIGTERM)
			other.signal(syscall.SIGTERM)
			if again.status() != 0 || other.status() != 0 {
				t.Error("not ended in order")
			}
			proctest.AwaitDead(t, others, time.Now())
		}
	})
}

// An engine that is stopped when its guardian is killed never learns of it.
func TestAStoppedEngineOfADeadGuardianIsSwept(t *testing.T) {
	g := begin(t, "trees")
	engine := g.engine(1)
	all := proctest.Await(t, g.dir, 2)
	if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.signal(syscall.SIGKILL)
	<-g.done
	begin(t, "idle").engine(1)
	proctest.AwaitDead(t, all, time.Now())
	eventually(t, "the stopped engine is swept", func() bool { return dead(engine) })
}

// The same under load: processors busy, other processes starting and dying.
func TestScenario05UnderLoad(t *testing.T) {
	stop := make(chan struct{})
	busy := make(chan struct{}, 4)
	for range cap(busy) {
		go func() {
			defer func() { busy <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				pid, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
				if err == nil {
					_, _ = syscall.Wait4(pid, nil, 0, nil)
				}
				runtime.Gosched()
			}
		}()
	}
	defer func() {
		close(stop)
		for range cap(busy) {
			<-busy
		}
	}()
	t.Run("top", TestScenario01KillTheTop)
	t.Run("group", TestScenario02KillTheGroupOfTheTop)
	t.Run("engine", TestScenario03KillTheEngine)
}

// hop starts its successor in a session of its own and exits, for as long as the test's folder is there.
func hop() {
	dir := os.Getenv(folder)
	f, err := os.OpenFile(filepath.Join(dir, "hops"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(0)
	}
	_, _ = f.WriteString("hop\n")
	info, err := f.Stat()
	if err != nil || info.Size() > 20_000 {
		os.Exit(0)
	}
	_, _ = syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true},
	})
	os.Exit(0)
}

// Processes that hop from session to session come to the guardian when the engine is dead, each one for a moment.
func TestScenario08HoppersOfADeadEngine(t *testing.T) {
	for range rounds(t) {
		g := begin(t, "hoppers idle")
		engine := g.engine(1)
		eventually(t, "they hop", func() bool {
			info, err := os.Stat(filepath.Join(g.dir, "hops"))
			return err == nil && info.Size() > 0
		})
		if err := syscall.Kill(engine, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		second := g.engine(2)
		for range 2 {
			n := 0
			_ = proc.Each(func(s proc.Stat) {
				if args := proc.Args(s.PID); len(args) == 2 && args[1] == "hop" && s.PID != second {
					if v, _, err := proc.Env(s.PID, folder); err == nil && v == g.dir {
						n++
					}
				}
			})
			if n > 0 {
				t.Errorf("%d hop on", n)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// A program that changes its user loses the signal at its parent's death.
func TestScenario06Setpriv(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can change the user: the tree is started as it is")
		return
	}
	for name, deadly := range map[string]func(g *top, engine int) error{
		"top":    func(g *top, _ int) error { return g.cmd.Process.Kill() },
		"engine": func(_ *top, engine int) error { return syscall.Kill(engine, syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := shared(t)
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			g := beginIn(t, "setpriv idle", dir, func(cmd *exec.Cmd) { fromAnywhere(t, dir, cmd) })
			engine := g.engine(1)
			all := proctest.Await(t, dir, 2)
			since := time.Now()
			if err := deadly(g, engine); err != nil {
				t.Fatal(err)
			}
			t.Logf("all dead after %v", proctest.AwaitDead(t, all, since))
		})
	}
}

func TestScenario07ThreadsThatEnd(t *testing.T) {
	g := begin(t, "threads")
	all := proctest.Await(t, g.dir, 2)
	g.hears("engine 1 threads ended", 1)
	g.signal(syscall.SIGTTIN) // it lives and listens
	g.hears("engine 1 signal stopped (tty input)", 1)
	if lives := proctest.Living(all); len(lives) != 10 {
		t.Errorf("only %q live", lives)
	}
}

func TestWhoWasThereBeforeIsSpared(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g := begin(t, "trees idle", func(cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `sleep 1000 & echo sleeper $!; exec "$0"`, exe}
	})
	sleeper, err := strconv.Atoi(g.hears("sleeper", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(sleeper, syscall.SIGKILL) }()
	engine := g.engine(1)
	all := proctest.Await(t, g.dir, 2)
	if err := syscall.Kill(engine, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.engine(2)
	if dead(sleeper) {
		t.Error("a child from before was killed")
	}
	proctest.AwaitDead(t, all, time.Now())
}

// What is known by name must not be hit at once.
func TestTheEngineHasAnotherName(t *testing.T) {
	g := begin(t, "idle")
	engine := g.engine(1)
	args := proc.Args(engine)
	if len(args) != 1 || args[0] != "seriatim-engine" {
		t.Errorf("its arguments are %q", args)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", engine))
	if err != nil || strings.TrimSpace(string(comm)) != "seriatim-engine" {
		t.Errorf("its name is %q, %v", comm, err)
	}
	if sid, err := unix.Getsid(engine); err != nil || sid != engine {
		t.Errorf("its session is %d, %v", sid, err)
	}
}
