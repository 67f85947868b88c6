package control

import (
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

// A paused lane ends after the job that runs, whichever worker is there; others go on; resumed, it goes on in order.
func TestPauseOfALane(t *testing.T) {
	d := newDesk(t)
	first, second := d.Host("w1", d.SleepPool(1, 2)), d.Host("w2", d.SleepExec(2))
	for _, h := range d.Hosts() {
		h.Debug = true
		h.Start()
	}
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("go")}, rig.Job{Entity: "build.1"}, rig.Job{Entity: "build.1"})
	d.awaitRun("build.1")
	d.Coordinator("lane", "pause", rig.Queue, "build.1", "--by", "ann@h1", "--reason", "disk is full")
	d.knowPause("build.1", first, second)
	d.becomes("build.1", streams.LaneRunning, "the lane is paused by ann@h1")
	d.Touch("go")
	d.AwaitFinished(1, rig.Bound)
	d.becomes("build.1", streams.LanePaused, "paused by ann@h1")
	var others []rig.Job
	for i := range 50 {
		others = append(others, rig.Job{Entity: fmt.Sprintf("other.%d", i%5), MS: 5})
	}
	d.Import(others...)
	d.AwaitFinished(51, rig.Bound)
	second.Kill() // whoever watches it now, or sweeps for lost turns, leaves the lane alone
	second.Start()
	d.Import(rig.Job{Entity: "other.1"}, rig.Job{Entity: "build.1"})
	d.AwaitFinished(52, rig.Bound)
	time.Sleep(time.Second)
	if n := d.starts("build.1"); n != 1 {
		t.Errorf("%d jobs of a paused lane ran", n-1)
	}
	d.Coordinator("lane", "resume", rig.Queue, "build.1")
	d.AwaitFinished(55, rig.Bound)
	d.Check()
}

// A paused queue starts nothing on any worker, also on one that is started now, and loses nothing.
func TestPauseOfAQueue(t *testing.T) {
	d := newDesk(t)
	first, second := d.Host("w1", d.SleepPool(2, 2)).Start(), d.Host("w2", d.SleepPool(1, 2)).Start()
	jobs := make([]rig.Job, 600)
	for i := range jobs {
		jobs[i] = rig.Job{Entity: fmt.Sprintf("build.%d", i%20), MS: 20}
	}
	d.Import(jobs...)
	d.AwaitFinished(20, rig.Bound)
	d.Coordinator("queue", "pause", rig.Queue, "--reason", "upgrade")
	d.knowPause("", first, second)
	d.Await("nothing runs", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == 0 })
	d.until("it stays so", func() bool {
		before := len(d.Tail.Starts)
		time.Sleep(500 * time.Millisecond)
		d.Await("", rig.Bound, func(*fleet.Tail) bool { return true })
		return before == len(d.Tail.Starts)
	}, func() string { return fmt.Sprint(len(d.Tail.Starts), " starts") })
	at := len(d.Tail.Starts)
	d.Host("w3", d.SleepPool(1, 4)).Start()
	d.Import(rig.Job{Entity: "late.1"})
	d.becomes("late.1", streams.LanePaused, "the whole queue is paused by ")
	time.Sleep(2 * time.Second)
	d.Await("", rig.Bound, func(*fleet.Tail) bool { return true })
	if n := len(d.Tail.Starts) - at; n != 0 {
		t.Errorf("%d jobs of a paused queue were started", n)
	}
	if i := d.info(); !i.Paused || i.Jobs == 0 {
		t.Errorf("paused %v, %d jobs", i.Paused, i.Jobs)
	}
	d.Coordinator("queue", "resume", rig.Queue)
	d.AwaitFinished(601, rig.Bound)
	d.Check()
}

// A pause that is bounded ends by itself, no sooner, and the lane goes on without anybody's doing.
func TestABoundedPauseEnds(t *testing.T) {
	d := newDesk(t)
	h := d.Host("w1", d.SleepPool(1, 2))
	h.Debug = true
	h.Start()
	pause := func(entity, bound string) (until time.Time) {
		t.Helper()
		got := ask[[]struct{ Pause streams.PauseRecord }](d, "lane", "pause", rig.Queue, entity, "--for", bound)
		d.knowPause(entity, h)
		return got[0].Pause.Until
	}
	pause("build.1", "1h")
	until := pause("build.2", "5s")
	d.Import(rig.Job{Entity: "build.1"}, rig.Job{Entity: "build.2"})
	d.becomes("build.1", streams.LanePaused, ", until 2")
	d.AwaitFinished(1, rig.Bound)
	if early := time.Until(until); early > 0 || d.starts("build.2") != 1 {
		t.Errorf("%d jobs of the lane whose pause ends at %s ran, %s before that", d.starts("build.2"), until, early)
	}
	d.Coordinator("lane", "resume", rig.Queue, "build.1")
	d.AwaitFinished(2, rig.Bound)
	d.Check()
}

// A dead job halts its lane until it is released: tried again with new counts, or buried.
func TestHaltedLane(t *testing.T) {
	d := newDesk(t, "--on-dead", "halt", "--max-attempts", "2", "--backoff", "100ms")
	d.Host("w1", d.SleepPool(1, 2)).Start()
	d.Coordinator("job", "publish", rig.Queue, "build.1", "--kind", "archive", "--data", "nonsense")
	d.Import(rig.Job{Entity: "build.1"})
	halted := func() streams.LaneInfo {
		t.Helper()
		l := d.becomes("build.1", streams.LaneHalted, "halted by job 1 (archive), which failed: read the job: ")
		if l.Claim == nil || l.Claim.Attempts != 2 || l.Jobs != 2 || len(l.Claim.Tries) != 2 {
			t.Errorf("%+v", l.Claim)
		}
		return l
	}
	before := halted()
	d.Coordinator("lane", "release", rig.Queue, "build.1")
	d.until("it was tried again", func() bool {
		l := d.why("build.1")
		return l.State == streams.LaneHalted && l.Claim.Fence > before.Claim.Fence
	}, func() string { return d.why("build.1").Why })
	d.Coordinator("lane", "release", rig.Queue, "build.1", "--bury")
	d.AwaitFinished(1, rig.Bound)
	d.AwaitEmpty(rig.Bound)
	if i := d.info(); i.Dead != 1 || i.Halted != 0 {
		t.Errorf("%d dead, %d halted", i.Dead, i.Halted)
	}
	d.Check()
}
