package deaths

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/proctest"
)

// A stop without NATS is bounded, and what could not be handed back is run by another worker after the lease.
func TestScenario13TermWithoutNATS(t *testing.T) {
	s := newScene(t, "--lease", "6s")
	a, b := s.host("a", atOnce), s.host("b", atOnce)
	a.Start()
	release := s.jobs(atOnce)
	s.startsOn("a", atOnce, 0)
	trees := s.tree(a, atOnce)
	s.Server.Kill()
	at, since := record.Now(), time.Now()
	a.Signal(syscall.SIGTERM)
	died := proctest.AwaitDead(t, trees, since)
	if err := a.Proc.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("all processes of its jobs dead after %v, ended after %v; its timeout is %v", died, time.Since(since), a.Timeout)
	s.Server.Restart()
	b.Start()
	starts := s.startsOn("b", atOnce, at)
	t.Logf("run elsewhere %v after the TERM", time.Duration(starts[atOnce-1].T-at))
	s.Fault(record.Kill{At: at, Until: record.Now(), Worker: "a"})
	release()
	s.AwaitFinished(atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	s.Check()
}

// A second TERM ends what the first one would have waited for, and all is handed back all the same.
func TestScenario15SecondTerm(t *testing.T) {
	s := newScene(t)
	a, b := s.host("a", atOnce), s.host("b", atOnce)
	a.Timeout = 10 * time.Minute
	a.Start()
	release := s.jobs(atOnce)
	s.startsOn("a", atOnce, 0)
	trees := s.tree(a, atOnce)
	b.Start()
	at, since := record.Now(), time.Now()
	a.Signal(syscall.SIGTERM)
	awaitSaid(t, a, "stopping: no further jobs; those that run may finish")
	if lives := proctest.Living(trees); len(lives) != len(trees) {
		t.Errorf("after the first TERM only %s live", lives)
	}
	a.Signal(syscall.SIGTERM)
	t.Logf("all processes of its jobs dead %v after the first TERM", proctest.AwaitDead(t, trees, since))
	if err := a.Proc.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	starts := s.startsOn("b", atOnce, at)
	t.Logf("run elsewhere %v after the first TERM", time.Duration(starts[atOnce-1].T-at))
	s.Fault(record.Kill{At: at, Until: record.Now(), Worker: "a"})
	release()
	s.AwaitFinished(atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	s.Check()
}

// A child that is stopped hears no TERM; it dies all the same.
func TestScenario16TermWithAStoppedChild(t *testing.T) {
	s := newScene(t)
	a, b := s.host("a", atOnce), s.host("b", atOnce)
	a.Timeout = time.Second
	a.Start()
	release := s.jobs(atOnce)
	starts := s.startsOn("a", atOnce, 0)
	trees := s.tree(a, atOnce)
	b.Start()
	for _, e := range starts {
		if err := syscall.Kill(-e.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	at, since := record.Now(), time.Now()
	a.Signal(syscall.SIGTERM)
	died := proctest.AwaitDead(t, trees, since)
	if err := a.Proc.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("all processes of its jobs dead after %v, ended after %v; timeout %v, kill_after %v", died, time.Since(since), a.Timeout, a.KillAfter)
	s.startsOn("b", atOnce, at)
	s.Fault(record.Kill{At: at, Until: record.Now(), Worker: "a"})
	release()
	s.AwaitFinished(atOnce, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	s.Check()
}

func awaitSaid(t *testing.T, h *rig.Host, message string) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); ; time.Sleep(5 * time.Millisecond) {
		said, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool { return l.Message == message })
		if err != nil {
			t.Fatal(err)
		}
		if said {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s never said %q", h.Name, message)
		}
	}
}

// An engine that is stopped for twice its lease while others take its lanes: its guardian has killed its jobs before.
func TestScenario17AStoppedEngine(t *testing.T) {
	const lease = 5 * time.Second
	s := newScene(t, "--lease", lease.String(), "--max-lost", "0")
	hosts := []*rig.Host{s.Host("a", s.SleepPool(1, 4)), s.Host("b", s.SleepExec(4))}
	for _, h := range hosts {
		h.Start()
	}
	// Few entities with many short jobs: whoever holds a lane always runs something, and the next one is at hand. Each
	// round begins with enough for twice its time.
	n := rig.Rounds(t, 2)
	const entities, jobMS = 6, 50
	const enough = entities * int(4*lease/time.Millisecond) / jobMS
	published := 0
	supply := func() {
		var list []rig.Job
		for ; published < s.Tail.Finished+enough; published++ {
			list = append(list, rig.Job{Entity: fmt.Sprint("e.", published%entities), MS: jobMS + published/entities%7})
		}
		s.Import(list...)
	}
	supply()
	s.startsOn("", 2*entities, 0)
	var fenced []time.Duration
	taken := 0
	for i := range n {
		h := hosts[i%2]
		supply()
		s.startsOn(h.Name, 3, record.Now())
		engine := engineOf(t, h)
		at, since := record.Now(), time.Now()
		if err := syscall.Kill(engine, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		awaitGone(t, engine) // its guardian kills it
		fenced = append(fenced, time.Since(since))
		if took := time.Since(since); took > lease { // whether it was too late says the record: see the overlaps
			t.Logf("on this busy host the engine was seen to be dead %v after it was stopped: others may act after %v", took, lease)
		}
		time.Sleep(2*lease - time.Since(since))
		s.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
		s.startsOn(h.Name, 3, record.Now()) // the next engine works
		taken += s.takenFrom(h.Name, at)
	}
	if taken == 0 {
		t.Error("nobody took over a lane of an engine that was stopped")
	}
	report(t, "from the stop of the engine until it was killed", fenced)
	s.AwaitEmpty(10 * time.Minute)
	rep := s.Check()
	t.Logf("%d runs of %d jobs in %d rounds, %d lanes taken over by another worker: %d overlaps, %d times the fence had not grown, %d run again",
		rep.Runs, rep.Jobs, n, taken, rep.Overlaps, rep.FenceNotGrown, rep.Again)
}

// takenFrom counts the entities that a worker ran last before at, and another one next.
func (s *scene) takenFrom(worker string, at int64) (n int) {
	last := map[string]string{}
	for _, e := range s.starts {
		before, seen := last[e.Entity]
		switch {
		case e.T <= at:
			last[e.Entity] = e.Worker
		case seen && before == worker && e.Worker != worker:
			n++
			delete(last, e.Entity)
		default:
			delete(last, e.Entity)
		}
	}
	return n
}
