package lane

import (
	"math"
	"testing"
	"time"
)

// TestSettle is the table of failures: what an outcome is counted as and what follows.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name   string
		before Counts
		o      Outcome
		state  Standing
		dying  bool
		after  Counts
		delay  time.Duration // of the turn
	}{
		{"failed", Counts{}, Outcome{Cause: CauseFailed}, Waiting, false, Counts{Attempts: 1}, time.Second},
		{"failed, its own delay", Counts{}, Outcome{Cause: CauseFailed, RetryIn: time.Minute}, Waiting, false, Counts{Attempts: 1}, time.Minute},
		{"failed, the longest delay that there is", Counts{}, Outcome{Cause: CauseFailed, RetryIn: math.MaxInt64}, Waiting, false, Counts{Attempts: 1}, LongestWait},
		{"failed at the limit", Counts{Attempts: 4}, Outcome{Cause: CauseFailed}, Running, true, Counts{Attempts: 5}, 0},
		{"other counts are not attempts", Counts{Crashes: 2, Lost: 2}, Outcome{Cause: CauseFailed}, Waiting, false, Counts{Attempts: 1, Crashes: 2, Lost: 2}, time.Second},
		{"fatal", Counts{}, Outcome{Cause: CauseFatal}, Running, true, Counts{Attempts: 1}, 0},
		{"crashed", Counts{Attempts: 4}, Outcome{Cause: CauseCrashed}, Waiting, false, Counts{Attempts: 4, Crashes: 1}, time.Second},
		{"crashed at the limit", Counts{Crashes: 2}, Outcome{Cause: CauseCrashed}, Running, true, Counts{Crashes: 3}, 0},
		{"memory", Counts{Crashes: 2}, Outcome{Cause: CauseMemory}, Waiting, false, Counts{Crashes: 2, Memory: 1}, time.Second},
		{"memory at the limit", Counts{Memory: 2}, Outcome{Cause: CauseMemory}, Running, true, Counts{Memory: 3}, 0},
		{"interrupted", Counts{Attempts: 4, Interrupted: 99}, Outcome{Cause: CauseInterrupted}, GivenBack, false, Counts{Attempts: 4, Interrupted: 100}, 0},
		{"not started", Counts{}, Outcome{Cause: CauseInterrupted, NotStarted: true}, GivenBack, false, Counts{}, 500 * time.Millisecond},
	} {
		before := by("living", GivenBack)
		before.Counts = c.before
		r := newRig(t).on(Delivered{again7}).recordRead(before).headRead(job7).stored(100).want(InRun).finished(c.o)
		w := r.want(Parking).write()
		if w.Record.State != c.state || w.Record.Dying != c.dying || w.Record.Counts != c.after {
			t.Errorf("%s: the record is %+v", c.name, w.Record)
		}
		if !w.Record.Counts.Zero() && w.TTL != 0 || w.Expect != 100 || w.Record.Session != "own" {
			t.Errorf("%s: the write is %+v", c.name, w)
		}
		if c.state == Waiting && w.Record.Due(r.v.ServerNow) != c.delay {
			t.Errorf("%s: due in %v, want %v", c.name, w.Record.Due(r.v.ServerNow), c.delay)
		}
		if c.dying {
			r.stored(101).want(Moving, "MoveDead").on(Moved{r.s.step.op}).want(Settling, "DeleteJob")
			continue
		}
		if n := r.stored(101).want(Returning).nak(); n.Delay != c.delay && c.o.NotStarted == (n.Delay == 0) {
			t.Errorf("%s: the turn comes back in %v, want %v", c.name, n.Delay, c.delay)
		}
	}
}

// TestMoveKeepsAttempt: whoever moves a dying job does it under the attempt of the run that killed it, so that both
// moves have one id.
func TestMoveKeepsAttempt(t *testing.T) {
	before := by("living", GivenBack)
	before.Attempts, before.Attempt = 4, 5
	r := newRig(t).on(Delivered{again7}).recordRead(before).headRead(job7).stored(100).finished(Outcome{Cause: CauseFailed})
	first := r.write().Record
	first.Seq, first.Session = 101, "dead"
	other := newRig(t).on(Delivered{again7}).recordRead(first).headRead(job7).stored(102)
	move := other.want(Moving).out[len(other.out)-1].(MoveDead)
	if first.Attempt != 5 || move.Record.Attempt != 5 || !move.Move {
		t.Errorf("attempts %d and %d", first.Attempt, move.Record.Attempt)
	}
	if move.Record.Lost != 0 {
		t.Error("the loss of a holder that only moved it counts against the job")
	}
}

// TestLost: the write that steals counts the loss, and at the limit the job is not started again.
func TestLost(t *testing.T) {
	r := newRig(t).on(Delivered{again7}).recordRead(by("dead", Running)).headRead(job7)
	w := r.write().Record
	if w.Lost != 1 || !w.Stolen || w.Dying || w.Attempt != 2 || w.Cause != "lost" {
		t.Errorf("stolen as %+v", w)
	}
	last := by("dead", Running)
	last.Lost = 2
	r = newRig(t).on(Delivered{again7}).recordRead(last).headRead(job7)
	if w := r.write().Record; w.Lost != 3 || len(w.Tries) != 1 || w.Tries[0].Worker != "dead" || w.Tries[0].Fence != 90 {
		t.Errorf("stolen as %+v", w)
	}
	r.stored(100).want(Parking, "FreeSlot", "WriteClaim(running,stolen,dying)")
	if w := r.write().Record; w.Attempt != 3 || w.Cause != "lost" {
		t.Errorf("it dies as %+v", w)
	}
	r.stored(101).want(Moving, "MoveDead")
}

// TestSlice: the next job of the lane is claimed by the same turn, until something else is due.
func TestSlice(t *testing.T) {
	next := func() *rig {
		r := newRig(t).on(Delivered{turn7}).headRead(job7of2).stored(100)
		return r
	}
	r := next().finished(Outcome{}).want(Settling, "DeleteJob").deleted().want(Opening, "Report(done)", "ReadHead").headRead(job8)
	if w := r.want(Opening).write(); w.Expect != 100 || w.Record.Job != 8 {
		t.Errorf("the next claim is %+v", w)
	}
	r.stored(101).want(InRun, "Start").finished(Outcome{}).want(Settling, "FreeSlot", "DeleteJob").deleted().want(Ending)

	// A read that shows the job that was just deleted ends the slice.
	next().finished(Outcome{}).deleted().headRead(job7).want(Ending)

	for name, stop := range map[string]func(r *rig){
		"draining": func(r *rig) { r.v.Draining = true },
		"stopped":  func(r *rig) { r.on(Stop{}) },
		"time":     func(r *rig) { r.v.OthersWait = true; r.later(r.v.SliceTime) },
		"jobs":     func(r *rig) { r.v.OthersWait = true; r.v.SliceJobs = 1 },
	} {
		r := next()
		stop(r)
		if r.finished(Outcome{}).deleted(); r.s.Phase != Ending {
			t.Errorf("%s: the slice goes on in phase %v", name, phaseNames[r.s.Phase])
		}
	}
}
