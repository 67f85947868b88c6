package deaths

import (
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

const atOnce = 3 // jobs

// byTurns kills the one of two workerds that runs the jobs, and sees them run on the other one.
func byTurns(t *testing.T, deadly func(h *rig.Host) error) {
	s := newScene(t)
	hosts := []*rig.Host{s.host("a", atOnce), s.host("b", atOnce)}
	hosts[0].Start()
	release := s.jobs(atOnce)
	s.startsOn("a", atOnce, 0)
	var died, again []time.Duration
	n := rig.Rounds(t, 3)
	for i := range n {
		h, other := hosts[i%2], hosts[(i+1)%2]
		trees := s.tree(h, atOnce)
		other.Start()
		engine := engineOf(t, h)
		at := record.Now()
		since := time.Now()
		h.Dying()
		if err := deadly(h); err != nil {
			t.Fatal(err)
		}
		died = append(died, proctest.AwaitDead(t, trees, since))
		starts := s.startsOn(other.Name, atOnce, at)
		again = append(again, time.Duration(starts[atOnce-1].T-at))
		s.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
		<-h.Proc.Done()
		awaitGone(t, engine)
	}
	report(t, "from the kill until all processes of its jobs are dead", died)
	report(t, "from the kill until its jobs run on the other worker", again)
	release()
	s.AwaitFinished(atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	if rep := s.Check(); rep.Runs != atOnce*(n+1) {
		t.Errorf("%d runs in %d rounds", rep.Runs, n)
	}
}

// awaitGone waits until a process is dead, whether or not the first process of this container reaps orphans.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !gone(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d does not end", pid)
		}
	}
}

func gone(pid int) bool {
	s, err := proc.Read(pid)
	return err != nil || s.Dead()
}

func TestScenario01KillTheTop(t *testing.T) {
	byTurns(t, func(h *rig.Host) error { return h.Proc.Signal(syscall.SIGKILL) })
}

func TestScenario02KillTheGroupOfTheTop(t *testing.T) {
	byTurns(t, func(h *rig.Host) error { return syscall.Kill(-h.Proc.PID(), syscall.SIGKILL) })
}

// The successor of a dead engine gives back what that one held, and does not wait for any lease.
func TestScenario03KillTheEngine(t *testing.T) {
	s := newScene(t, "--max-lost", "0")
	h := s.host("a", atOnce)
	h.Timeout = 100 * time.Millisecond
	h.Start()
	release := s.jobs(atOnce)
	s.startsOn("a", atOnce, 0)
	var died, again []time.Duration
	n, lives := rig.Rounds(t, 3), 1
	for i := range n {
		if i > 0 && i%4 == 0 { // five deaths within a minute are too many for one life
			s.restart(h)
			lives++
		}
		trees := s.tree(h, atOnce)
		at, since := record.Now(), time.Now()
		if err := syscall.Kill(engineOf(t, h), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		died = append(died, proctest.AwaitDead(t, trees, since))
		starts := s.startsOn("a", atOnce, at)
		again = append(again, time.Duration(starts[atOnce-1].T-at))
		s.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
	}
	s.neverHeldUp(h)
	report(t, "from the kill until all processes of its jobs are dead", died)
	report(t, "from the kill until its jobs run again on the same worker, with its guardian's backoff", again)
	release()
	s.AwaitFinished(atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	if rep := s.Check(); rep.Runs != atOnce*(n+lives) {
		t.Errorf("%d runs in %d rounds and %d lives", rep.Runs, n, lives)
	}
}

// An engine that crashes once, as one does: not again and again, so that its guardian does not wait before the next one.
func TestEngineCrash(t *testing.T) {
	s := newScene(t, "--max-lost", "0")
	h := s.host("a", atOnce)
	h.Timeout = 100 * time.Millisecond
	h.Start()
	release := s.jobs(atOnce)
	s.startsOn("a", atOnce, 0)
	var again []time.Duration
	n := rig.Rounds(t, 3)
	for i := range n {
		if i > 0 {
			s.restart(h)
		}
		trees := s.tree(h, atOnce)
		at, since := record.Now(), time.Now()
		if err := syscall.Kill(engineOf(t, h), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		proctest.AwaitDead(t, trees, since)
		starts := s.startsOn("a", atOnce, at)
		again = append(again, time.Duration(starts[atOnce-1].T-at))
		s.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
	}
	report(t, "from the crash of the engine until its jobs run again", again)
	release()
	s.AwaitFinished(atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	s.Check()
}

// An engine that crashes with nothing in hand: the next one works at once, too.
func TestAnIdleEngineCrashes(t *testing.T) {
	s := newScene(t)
	h := s.host("a", atOnce)
	h.Start()
	since := time.Now()
	if err := syscall.Kill(engineOf(t, h), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(rig.Bound); ; time.Sleep(5 * time.Millisecond) {
		lives := 0
		if _, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool {
			if l.Message == "running" {
				lives++
			}
			return false
		}); err != nil {
			t.Fatal(err)
		}
		if lives == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the next engine does not run")
		}
	}
	t.Logf("the next engine takes jobs %v after the crash", time.Since(since).Round(time.Millisecond))
	s.neverHeldUp(h)
	h.Stop()
}

// neverHeldUp fails when an engine took the session of one before it, which is dead, for another worker's.
func (s *scene) neverHeldUp(h *rig.Host) {
	s.t.Helper()
	const message = "a worker with this id was alive a moment ago; waiting to see whether it still is"
	held, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool { return l.Message == message })
	if err != nil || held {
		s.t.Errorf("an engine waited for the lease of one before it: %v, %v", held, err)
	}
}

// restart ends a workerd in order while its jobs run, starts it again, and waits for them.
func (s *scene) restart(h *rig.Host) {
	s.t.Helper()
	s.neverHeldUp(h)
	trees := s.tree(h, atOnce)
	at := record.Now()
	h.Stop()
	if left := proctest.Living(trees); left != "" {
		s.t.Errorf("%s outlived a stop", left)
	}
	h.Start()
	s.startsOn(h.Name, atOnce, at)
	s.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
}

func TestScenario04KillBoth(t *testing.T) {
	s := newScene(t, "--lease", "6s", "--max-lost", "0")
	a, b := s.host("a", atOnce), s.host("b", atOnce)
	a.Start()
	release := s.jobs(2 * atOnce)
	s.startsOn("a", atOnce, 0)
	b.Start()
	s.startsOn("b", atOnce, 0)
	others := s.tree(b, atOnce)
	n, before := rig.Rounds(t, 2), int64(0)
	for range n {
		trees := s.tree(a, atOnce)
		at := record.Now()
		killBoth(t, a)
		for _, e := range s.startsOn("a", 0, before) { // not earlier ones: somebody else may have their numbers
			awaitGone(t, e.PID) // the children themselves die with the engine
		}
		before = at
		left := proctest.Living(trees) // another workerd that starts on this host at this moment sweeps too
		since := time.Now()
		a.Start()
		t.Logf("%s swept %v after the start", left, proctest.AwaitDead(t, trees, since))
		s.startsOn("a", atOnce, at)
		s.Fault(record.Kill{At: at, Until: record.Now(), Worker: "a"})
	}
	if lives := proctest.Living(others); len(lives) != len(others) {
		t.Errorf("of another living worker's processes only %s live", lives)
	}
	release()
	s.AwaitFinished(2*atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	s.Check()
}

// killBoth kills guardian and engine so that neither sees the other die.
func killBoth(t *testing.T, h *rig.Host) {
	t.Helper()
	h.Dying()
	pids := []int{h.Proc.PID(), engineOf(t, h)}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		for _, pid := range pids {
			if err := syscall.Kill(pid, sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-h.Proc.Done()
}
