package guardian_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

func TestSignalsAreForwarded(t *testing.T) {
	g := begin(t, "deaf")
	g.engine(1)
	for s, name := range map[syscall.Signal]string{
		syscall.SIGTSTP: "stopped", syscall.SIGCONT: "continued", syscall.SIGTTIN: "stopped (tty input)", syscall.SIGHUP: "hangup",
		syscall.SIGINT: "interrupt", syscall.SIGTERM: "terminated",
	} {
		g.signal(s)
		g.hears("engine 1 signal "+name, 1)
	}
}

// A signal that comes before the engine can handle it would kill it, or stop it.
func TestSignalsWaitForTheEngineToListen(t *testing.T) {
	g := begin(t, "late")
	g.engine(1)
	g.signal(syscall.SIGTTIN)
	g.signal(syscall.SIGHUP)
	g.hears("engine 1 signal hangup", 1)
	g.hears("engine 1 signal stopped (tty input)", 1)
	g.signal(syscall.SIGTERM)
	if s := g.status(); s != 0 {
		t.Errorf("the status is %d", s)
	}
	if g.counts("guardian engine ended") != 0 {
		t.Error("the engine died of a signal")
	}
}

func TestQuietOutlivesACrash(t *testing.T) {
	g := begin(t, "idle")
	g.engine(1)
	g.signal(syscall.SIGTSTP)
	g.hears("engine 1 signal stopped", 1)
	if err := syscall.Kill(g.engine(1), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.hears("engine 2 signal stopped", 1)
	g.signal(syscall.SIGCONT)
	g.hears("engine 2 signal continued", 1)
	if err := syscall.Kill(g.engine(2), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.engine(3)
	g.signal(syscall.SIGHUP)
	g.hears("engine 3 signal hangup", 1)
	if g.counts("engine 3 signal stopped") != 0 {
		t.Error("quiet came back")
	}
}

func TestScenario15TheSecondTermArrives(t *testing.T) {
	g := begin(t, "deaf")
	g.engine(1)
	g.signal(syscall.SIGTERM)
	g.hears("engine 1 signal terminated", 1)
	g.signal(syscall.SIGTERM)
	g.hears("engine 1 signal terminated", 2)
}

// A stopped child gets its TERM when it is continued, and is killed when it is deaf.
func TestScenario16TermWithAStoppedChild(t *testing.T) {
	g := begin(t, "stopped")
	engine := g.engine(1)
	eventually(t, "both children are stopped", func() bool {
		stopped := 0
		_ = proc.Each(func(s proc.Stat) {
			if s.PPID == engine && s.State == 'T' {
				stopped++
			}
		})
		return stopped == 2
	})
	g.signal(syscall.SIGTERM)
	if s := g.status(); s != 0 {
		t.Errorf("the status is %d", s)
	}
	if n := g.counts("engine 1 job"); n != 2 {
		t.Errorf("%d jobs have ended", n)
	}
}

func TestStatuses(t *testing.T) {
	for words, want := range map[string]struct{ status, lives, ended int }{
		"usage":      {2, 1, 0},
		"fail":       {7, 1, 0}, // what the first one could not do at the start, the next one cannot either
		"panic":      {2, 5, 5}, // looks like a usage error, and is none
		"exit":       {1, 5, 5}, // status 0, but nobody asked it to end
		"panic fail": {7, 5, 5},
		"panic idle": {0, 2, 1},
	} {
		t.Run(words, func(t *testing.T) {
			g := begin(t, words)
			if strings.HasSuffix(words, "idle") {
				g.engine(2)
				g.signal(syscall.SIGTERM)
			}
			if s := g.status(); s != want.status {
				t.Errorf("the status is %d, not %d", s, want.status)
			}
			if n := g.counts("guardian engine started"); n != want.lives {
				t.Errorf("%d engines, not %d", n, want.lives)
			}
			if n := g.counts("guardian engine ended"); n != want.ended {
				t.Errorf("%d crashes, not %d", n, want.ended)
			}
		})
	}
}

func TestTermBetweenTwoEngines(t *testing.T) {
	g := begin(t, "panic")
	g.hears("guardian engine restarting", 3)
	g.signal(syscall.SIGTERM)
	if s := g.status(); s != 0 {
		t.Errorf("the status is %d", s)
	}
}

func TestScenario17AStoppedEngineIsFenced(t *testing.T) {
	users(t, func(t *testing.T, begin func(string) *top) {
		for range rounds(t) {
			g := begin("brief idle")
			engine := g.engine(1)
			all := proctest.Await(t, g.dir, 2)
			if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			since := time.Now()
			took := proctest.AwaitDead(t, all, since)
			fenced := strings.Fields(g.hears("guardian engine fenced", 1))
			late, err := time.ParseDuration(fenced[len(fenced)-1])
			if err != nil || late < guardian.Slack {
				t.Errorf("killed %v after the session's end, %v", late, err)
			}
			if took < time.Second { // on a busy host its last word may be old when it is stopped
				t.Errorf("killed after %v, before the session's end", took)
			}
			t.Logf("the session's end is 3 s after its last word: all dead after %v", took)
			if said := g.hears("engine 2 begins", 1); !strings.HasSuffix(said, "true fenced 1 session-1") {
				t.Errorf("the next engine was told %q", said)
			}
			g.signal(syscall.SIGTERM)
			if s := g.status(); s != 0 {
				t.Errorf("the status is %d", s)
			}
		}
	})
}

// An engine that goes on but does not move its session on has lost it, whatever it believes.
func TestAnEngineThatRunsPastItsSessionIsFenced(t *testing.T) {
	g := begin(t, "short idle")
	g.hears("guardian engine fenced", 1)
	g.engine(2)
}

func TestPastItsDeadlineOnlyAGroupIsKilled(t *testing.T) {
	g := begin(t, "group")
	all := proctest.Await(t, g.dir, 2)
	if err := os.WriteFile(filepath.Join(g.dir, "over"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := g.hears("engine 1 job 0", 1); !strings.HasPrefix(said, "crashed true") {
		t.Errorf("the job ended as %q", said)
	}
	g.hears("guardian group fenced", 1)
	eventually(t, "one tree is dead", func() bool { return len(proctest.Living(all)) == 5 })
	g.signal(syscall.SIGHUP)
	g.hears("engine 1 signal hangup", 1)
	if n := g.counts("engine 1 job"); n != 1 {
		t.Errorf("%d jobs have ended", n)
	}
}

// Without a session nothing may run; the engine itself may wait for one for as long as it likes.
func TestWithoutASessionNothingRuns(t *testing.T) {
	g := begin(t, "nosession")
	g.hears("engine 1 job 0", 1)
	g.hears("engine 1 job 1", 1)
	g.signal(syscall.SIGHUP)
	g.hears("engine 1 signal hangup", 1)
	if g.counts("engine 2") != 0 || g.counts("guardian engine fenced") != 0 {
		t.Error("the engine was fenced")
	}
}

// What the engine said while its guardian was stopped counts, not what it had said before.
func TestAStoppedGuardianFencesNobody(t *testing.T) {
	g := begin(t, "brief")
	g.engine(1)
	all := proctest.Await(t, g.dir, 2)
	g.signal(syscall.SIGSTOP)
	time.Sleep(5 * time.Second) // past the session's end as it was told last
	g.signal(syscall.SIGCONT)
	time.Sleep(2 * time.Second)
	g.signal(syscall.SIGHUP)
	g.hears("engine 1 signal hangup", 1)
	if lives := proctest.Living(all); len(lives) != 10 {
		t.Errorf("only %q live", lives)
	}
}
