package limits

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// Lanes in backoff hold no permit: beside a thousand of them all twenty that the limit allows run.
func TestBackoffHoldsNothing(t *testing.T) {
	waiting := rig.Size(200, 1000)
	s := newSystem(t, "--limit", "queue=20", "--backoff", "10m,10m", "--max-attempts", "0")
	for _, name := range []string{"a", "b"} {
		s.Host(name, failPool(20), s.SleepExec(20)).Start()
	}
	s.publish(rig.Queue, lanes(waiting, "sick", job{Kind: failing})...)
	from := time.Now()
	s.awaitRetrying(waiting)
	t.Logf("%d lanes are in backoff after %s", waiting, time.Since(from).Round(time.Millisecond))

	end := s.Path("end")
	s.publish(rig.Queue, lanes(50, "well", job{Until: end})...)
	s.awaitRunning(20)
	s.stays(20, rig.Size(2*time.Second, 10*time.Second))
	s.Touch("end")
	s.AwaitFinished(50, rig.Bound)
	t.Logf("beside them at most %d ran at once", s.most["queue"])
	s.Check()
}

// awaitRetrying waits until so many lanes are in backoff.
func (s *system) awaitRetrying(n int) {
	s.t.Helper()
	var info struct{ Retrying int }
	for end := time.Now().Add(rig.Bound); info.Retrying < n; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%d of %d lanes are in backoff", info.Retrying, n)
		}
		if err := json.Unmarshal(s.Coordinator("queue", "info", rig.Queue, "--json"), &info); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Three workers share a limit: never more than five jobs run, five do, and each worker has its part.
func TestWorkersShareALimit(t *testing.T) {
	jobs := rig.Size(200, 2000)
	s := newSystem(t, "--limit", "queue=5")
	for _, name := range []string{"a", "b", "c"} {
		s.Host(name, s.SleepExec(10)).Start()
	}
	// Five at once, for as long as it takes to see that.
	s.publish(rig.Queue, lanes(10, "first", job{Until: s.Path("end")})...)
	s.awaitRunning(5)
	s.stays(5, time.Second)
	s.Touch("end")
	from := time.Now()
	for i := range 4 {
		s.publish(rig.Queue, lanes(jobs/4, fmt.Sprint("t", i), job{MS: 100})...)
	}
	s.AwaitFinished(10+jobs, rig.Size(rig.Bound, 4*rig.Bound))
	took := time.Since(from)
	rep := s.Check()
	t.Logf("%d jobs of 100 ms under a limit of 5 took %s, %d at once at most; starts by worker: %v; %d overlaps of a lane",
		jobs, took.Round(time.Millisecond), s.most["queue"], s.by, rep.Overlaps)
	if s.most["queue"] != 5 {
		t.Errorf("at most %d jobs ran at once, not 5", s.most["queue"])
	}
	for _, h := range s.Hosts() {
		if s.by[h.Name] == 0 {
			t.Errorf("worker %s started nothing", h.Name)
		}
	}
}

// A worker that dies gives its share back as soon as it is known to be dead, and no sooner.
func TestDeadHolderFreesItsShare(t *testing.T) {
	s := newSystem(t, "--limit", "queue=4", "--lease", rig.SoonLost)
	a := s.Host("a", s.SleepExec(10)).Start()
	end := s.Path("end")
	s.publish(rig.Queue, lanes(30, "e", job{Until: end})...)
	s.awaitRunning(4)
	b := s.Host("b", s.SleepExec(10)).Start()
	s.stays(4, time.Second)
	a.Kill()
	from := time.Now()
	s.Await("the other worker has the share", rig.Bound, func(t *fleet.Tail) bool { return len(t.OpenOf("b")) == 4 })
	t.Logf("a holder of all 4 permits died; %s later the other worker ran 4 jobs (the lease is %s)", time.Since(from).Round(time.Millisecond), rig.SoonLost)
	s.stays(4, time.Second)
	s.Touch("end")
	s.AwaitFinished(30, rig.Bound)
	s.Check()
	_ = b
}

// A worker that stops gives its share to the others at once.
func TestStoppedHolderFreesItsShare(t *testing.T) {
	s := newSystem(t, "--limit", "queue=4")
	a := s.Host("a", s.SleepExec(10))
	a.Timeout, a.KillAfter = 100*time.Millisecond, rig.Bound // a job that is killed does not write down its end
	a.Start()
	end := s.Path("end")
	s.publish(rig.Queue, lanes(30, "e", job{Until: end})...)
	s.awaitRunning(4)
	s.Host("b", s.SleepExec(10)).Start()
	from := time.Now()
	a.Stop()
	stopped := time.Now()
	s.Await("the other worker has the share", rig.Bound, func(t *fleet.Tail) bool { return len(t.OpenOf("b")) == 4 })
	t.Logf("a holder of all 4 permits stopped in %s; %s later the other worker ran 4 jobs", stopped.Sub(from).Round(time.Millisecond), time.Since(stopped).Round(time.Millisecond))
	s.Touch("end")
	s.AwaitFinished(30, rig.Bound)
	if s.most["queue"] > 4 {
		t.Errorf("%d jobs ran at once", s.most["queue"])
	}
}

// Limits are changed while jobs run: raised, lowered, lifted and brought back.
func TestLimitsChangeLive(t *testing.T) {
	const said = "limits changed"
	s := newSystem(t, "--limit", "queue=2")
	for _, name := range []string{"a", "b"} {
		s.Host(name, s.SleepExec(6)).Start()
	}
	change := func(limit string, times int) {
		t.Helper()
		from := time.Now()
		s.Coordinator("queue", "edit", rig.Queue, "--limit", limit)
		s.awaitSaid(said, times)
		t.Logf("all workers know %s after %s", limit, time.Since(from).Round(time.Millisecond))
	}
	until := func(i int) job { return job{Until: s.Path(fmt.Sprint("end", i))} }
	s.publish(rig.Queue, lanes(8, "a", until(1))...)
	s.awaitRunning(2)
	s.stays(2, time.Second)

	change("queue=8", 1)
	s.awaitRunning(8)
	change("queue=3", 2)
	s.publish(rig.Queue, lanes(20, "b", until(2))...)
	s.stays(8, time.Second)
	s.Touch("end1")
	s.AwaitFinished(8, rig.Bound)
	s.awaitRunning(3)
	s.stays(3, time.Second)

	change("queue=0", 3)
	s.awaitRunning(12)
	change("queue=4", 4)
	s.publish(rig.Queue, lanes(20, "c", until(3))...)
	s.stays(12, time.Second)
	s.Touch("end2")
	s.Await("four jobs run, new ones among them", rig.Bound, func(t *fleet.Tail) bool {
		return len(t.Open()) == 4 && slices.ContainsFunc(t.Open(), func(e record.Event) bool { return e.Entity[0] == 'c' })
	})
	s.stays(4, time.Second)
	s.Touch("end3")
	s.AwaitFinished(48, rig.Bound)
	s.Check()
}

// Kinds and types of entities have limits of their own beside the queue's.
func TestKindsAndTypes(t *testing.T) {
	s := newSystem(t, "--limit", "queue=9", "--limit", "kind:archive=2", "--limit", "type:build=3")
	for _, name := range []string{"a", "b"} {
		s.Host(name, s.SleepExec(12)).Start()
	}
	// As many of each as may run beside the others, for as long as it takes to see that: first those that have limits of
	// their own, and then others for what is left of the queue's.
	blocked := func(typ, kind string, n int) {
		t.Helper()
		var jobs []job
		for i := range n {
			jobs = append(jobs, job{Entity: fmt.Sprintf("%s.first-%s%d", typ, kind, i), Kind: kind, Until: s.Path("end")})
		}
		s.publish(rig.Queue, jobs...)
	}
	blocked("build", "test", 5)
	s.awaitRunning(3)
	blocked("file", "archive", 4)
	s.awaitRunning(5)
	blocked("file", "test", 6)
	s.awaitRunning(9)
	s.stays(9, time.Second)
	s.Touch("end")
	s.AwaitFinished(15, rig.Bound)
	const length = 150 // ms
	var jobs []job
	for i := range rig.Size(24, 400) {
		for _, typ := range []string{"build", "file"} {
			for _, kind := range []string{"archive", "test"} {
				jobs = append(jobs, job{Entity: fmt.Sprintf("%s.%s%d", typ, kind, i), Kind: kind, MS: length})
			}
		}
	}
	from := time.Now()
	s.publish(rig.Queue, jobs...)
	s.AwaitFinished(15+len(jobs), rig.Size(rig.Bound, 4*rig.Bound))
	s.Check()
	t.Logf("%d jobs of %d ms in %s; most at once: %v", len(jobs), length, time.Since(from).Round(time.Millisecond), s.most)
	for what, n := range map[string]int{"queue": 9, "kind:archive": 2, "type:build": 3} {
		if s.most[what] > n {
			t.Errorf("%d ran at once under %s, which is %d", s.most[what], what, n)
		}
	}
	for what, n := range map[string]int{"kind:archive": 2, "type:build": 3, "type:file": 4} {
		if s.most[what] < n {
			t.Errorf("no more than %d ran at once of %s; %d could have", s.most[what], what, n)
		}
	}
}
