package lane

import (
	"testing"
	"time"
)

// TestPass: a failed job that lets the others pass is moved to the schedule, with its counts and under the attempt that
// makes the move's id, and then its lane goes on.
func TestPass(t *testing.T) {
	r := running(t)
	r.v.Pass = true
	r.finished(Outcome{Cause: CauseFailed, RetryIn: time.Minute}).want(Parking, "FreeSlot", "WriteClaim(running,passing)")
	w := r.write()
	if w.TTL != 0 || w.Record.Attempts != 1 || w.Record.Due(r.v.ServerNow) != time.Minute || w.Record.Attempt != 1 {
		t.Errorf("the write is %+v", w)
	}
	r.stored(101).want(Moving, "MoveLater")
	first := r.out[0].(MoveLater).Record
	r.on(Moved{r.s.step.op}).want(Settling, "DeleteJob").deleted().want(Ending, "Report(retry)", "EndTurn")

	// Another holder moves it under the same attempt, and does not count its own taking over as a loss.
	w.Record.Seq, w.Record.Session = 101, "dead"
	other := newRig(t).on(Delivered{again7}).recordRead(w.Record).headRead(job7).stored(102).want(Moving, "FreeSlot", "MoveLater")
	if got := other.out[1].(MoveLater).Record; got.Attempt != first.Attempt || got.NotBefore != first.NotBefore || got.Lost != 0 {
		t.Errorf("moved again as %+v", got)
	}
}

// TestCarried: what a job was charged with before it was moved to the end of its lane counts on.
func TestCarried(t *testing.T) {
	back := Head{Found: true, Seq: 7, Counts: Counts{Attempts: 4, Lost: 2}}
	r := newRig(t).on(Delivered{turn7}).headRead(back).stored(100).want(InRun, "Start")
	if s := r.out[0].(Start); s.Attempt != 7 || s.Counts.Attempts != 4 {
		t.Errorf("it starts as %+v", s)
	}
	r.finished(Outcome{Cause: CauseFailed}).want(Parking, "FreeSlot", "WriteClaim(running,dying)")
	r.stored(101).want(Moving, "MoveDead")
	if m := r.out[0].(MoveDead); m.Record.Attempts != 5 || m.Record.Attempt != 7 || m.Record.Lost != 2 {
		t.Errorf("it dies as %+v", m.Record)
	}
	// Losses of before do not kill it by themselves, the next one does.
	lost := newRig(t).on(Delivered{again7}).recordRead(by("dead", Running)).headRead(back).stored(101)
	lost.want(Parking, "FreeSlot", "WriteClaim(running,stolen,dying)")
}

// TestAbsolved: what an operator has released counts from zero, also what it had brought along.
func TestAbsolved(t *testing.T) {
	released := by("operator", GivenBack)
	released.Absolved = true
	r := newRig(t).on(Delivered{again7}).recordRead(released).headRead(Head{Found: true, Seq: 7, Counts: Counts{Attempts: 4}}).stored(100)
	if s := r.want(InRun, "Start").out[0].(Start); s.Attempt != 1 || !s.Counts.Zero() {
		t.Errorf("it starts as %+v", s)
	}
	w := r.finished(Outcome{Cause: CauseFailed}).want(Parking, "FreeSlot", "WriteClaim(waiting)").write()
	if w.Record.Attempts != 1 || !w.Record.Absolved || w.TTL != 0 {
		t.Errorf("it waits as %+v", w)
	}
}

// TestHalt: a dead job stays where it is, its lane has no turn, and nobody starts it.
func TestHalt(t *testing.T) {
	for name, set := range map[string]func(r *rig){
		"the queue says it": func(r *rig) { r.v.Halt = true },
		"the job says it":   func(r *rig) { r.s.head.Halt = Yes },
	} {
		r := running(t)
		set(r)
		r.finished(Outcome{Cause: CauseFatal, Error: "no"}).want(Parking, "FreeSlot", "WriteClaim(halted)")
		w := r.write()
		if w.TTL != 0 || w.Record.Error != "no" || w.Record.Cause != "fatal" || len(w.Record.Tries) != 1 {
			t.Errorf("%s: the write is %+v", name, w)
		}
		r.stored(101).want(Ending, "Report(halted)", "EndTurn").on(Ended{r.s.step.op}).want(Looking, "ReadHead")
		w.Record.Seq = 101
		r.headRead(job7).recordRead(w.Record).want(Gone, "Drop")
		newRig(t).on(Delivered{again7}).recordRead(w.Record).headRead(job7).want(Ending, "FreeSlot", "EndTurn")
	}
	r := running(t)
	r.v.Halt, r.s.head.Halt = true, No
	r.finished(Outcome{Cause: CauseFatal}).want(Parking, "FreeSlot", "WriteClaim(running,dying)")
	lost := newRig(t)
	lost.v.Halt = true
	last := by("dead", Running)
	last.Lost = 2
	lost.on(Delivered{again7}).recordRead(last).headRead(job7).stored(100).want(Parking, "FreeSlot", "WriteClaim(halted,stolen)")
}

// TestPaused: the turn of a paused lane is ended, and the store decides afterwards whether it needs a new one.
func TestPaused(t *testing.T) {
	r := newRig(t)
	r.v.Paused = true
	r.on(Delivered{turn7}).want(Ending, "FreeSlot", "EndTurn").on(Ended{r.s.step.op}).headRead(job7)
	r.want(Looking, "ReadRecord").on(RecordRead{Op: r.s.read.op, Paused: true}).want(Gone, "Drop")

	// Resumed meanwhile: the holder was not told yet.
	r = newRig(t)
	r.v.Paused = true
	r.on(Delivered{turn7}).on(Ended{r.s.step.op}).headRead(job7).noRecord().want(Relaying, "PublishTurn")

	// What runs goes on, and the slice ends after it.
	r = newRig(t).on(Delivered{turn7}).headRead(job7of2).stored(100).want(InRun)
	r.v.Paused = true
	r.finished(Outcome{}).deleted().want(Ending)

	// Claimed and not started: the claim is given back first.
	r = newRig(t).on(Delivered{turn7}).headRead(job7)
	r.v.Paused = true
	r.stored(100).want(Parking, "FreeSlot", "WriteClaim(given_back)").stored(101).want(Ending, "EndTurn")
}

// TestCancel: the job that runs is ended and deleted, whatever it says; one that comes up in the same hands is not
// started.
func TestCancel(t *testing.T) {
	for _, c := range []Cause{CauseFailed, CauseInterrupted, CauseCrashed, CauseFatal} {
		r := running(t).on(Cancel{Jobs: []uint64{7}}).want(Killing, "Kill(cancel)").finished(Outcome{Cause: c})
		r.want(Settling, "FreeSlot", "DeleteJob").deleted().want(Ending, "Report(cancelled)", "EndTurn")
	}
	// While it is being ended for another reason, too.
	running(t).on(Stop{}).on(Cancel{Jobs: []uint64{7}}).finished(Outcome{Cause: CauseInterrupted}).want(Settling)
	running(t).on(Cancel{Jobs: []uint64{7}}).finished(Outcome{}).deleted().want(Ending, "Report(done)", "EndTurn")
	running(t).on(Cancel{Jobs: []uint64{9}}).want(InRun, []string{}...)

	r := newRig(t).on(Delivered{turn7}).headRead(job7of2).stored(100).on(Cancel{Jobs: []uint64{8}}).want(InRun)
	r.finished(Outcome{}).deleted().headRead(job8).stored(101).want(Settling, "FreeSlot", "DeleteJob")
	if r.deleted().did() != "Report(cancelled) EndTurn" {
		t.Errorf("it did %q", r.did())
	}

	// A delete that was cut off by the session's end is on its way: whoever has the claim next needs the mark.
	r = newRig(t).on(Delivered{turn7}).on(Cancel{Jobs: []uint64{7}}).headRead(job7).stored(100).want(Settling)
	r.on(SessionOver{}).want(Orphaned)
	r.v.Session = "next"
	if w := r.on(SessionNew{}).recordRead(by("own", Running)).write(); !w.Record.Stolen || w.Record.State != Running {
		t.Errorf("it is claimed as %+v", w.Record)
	}
}

// TestTries: what went wrong is kept in the claim, bounded, and outlives being given back and stolen.
func TestTries(t *testing.T) {
	before := by("living", GivenBack)
	for i := range 2 * maxTries {
		before.tried(Try{Fence: uint64(i), Error: string(make([]byte, 2*maxTryError)), Log: string(make([]byte, 2*maxTryLog))})
	}
	if n := len(before.Tries); n != maxTries || before.Tries[n-1].Fence != 2*maxTries-1 || len(before.Encode()) > 64<<10 {
		t.Fatalf("%d tries, %d bytes", n, len(before.Encode()))
	}
	r := newRig(t).on(Delivered{again7}).recordRead(before).headRead(job7).stored(100)
	r.finished(Outcome{Cause: CauseFailed, Error: "disk full", Log: "x", StartedAt: time.UnixMilli(5)})
	tries := r.write().Record.Tries
	got := tries[len(tries)-1]
	want := Try{Worker: "own", Fence: 100, Start: 5, End: 1000000, Cause: "failed", Error: "disk full", Log: "x"}
	if len(tries) != maxTries || got != want {
		t.Errorf("%d tries, the last is %+v", len(tries), got)
	}
	if before.Tries[maxTries-1].Fence != 2*maxTries-1 {
		t.Error("records share memory")
	}
	// The clock of a batch is read before what is in it: a run may begin and end in between, and no try ends before it starts.
	r = newRig(t).on(Delivered{again7}).recordRead(by("living", GivenBack)).headRead(job7).stored(100)
	r.finished(Outcome{Cause: CauseFailed, StartedAt: r.v.ServerNow.Add(10 * time.Millisecond), Took: 5 * time.Millisecond})
	if tries := r.write().Record.Tries; len(tries) != 1 || tries[0].Start != 1000010 || tries[0].End != 1000015 {
		t.Errorf("a run after the clock was read is %+v", tries)
	}
	// The run's fence is known also from a record that was rewritten under it.
	long := running(t).later(11 * time.Second).on(Tick{}).write().Record
	long.Seq, long.Session = 150, "dead"
	r = newRig(t).on(Delivered{again7}).recordRead(long).headRead(job7)
	if tries := r.write().Record.Tries; len(tries) != 1 || tries[0].Fence != 100 || tries[0].Start == 0 {
		t.Errorf("tries %+v", tries)
	}
}

// TestCancelNotes: a cancel outlives the turn in which it came, for a while.
func TestCancelNotes(t *testing.T) {
	d := newDesk(t).session()
	const lane = "ci.build.1"
	if got := d.h.Cancel(lane, []uint64{7}); got[0] != CancelAbsent {
		t.Errorf("of a lane that is not in hand: %v", got)
	}
	d.do(0, func() { d.h.Delivered(lane, turn7, 0, 0) })
	d.do(0, func() { d.h.Lane(lane, HeadRead{Op: action[ReadHead](d, lane).Op, Head: job7of2}) })
	l := d.h.lanes[lane]
	d.do(0, func() { d.h.Lane(lane, Stored{Op: l.s.write.op, Seq: 100}) })
	action[DeleteJob](d, lane)
	d.do(0, func() { d.h.Lane(lane, Deleted{Op: l.s.step.op}) })
	if got := d.h.Cancel(lane, []uint64{7, 8}); got[1] != CancelNoted {
		t.Errorf("of a lane in hand: %v", got)
	}
	d.tick(2 * noteFor)
	if len(d.h.noted) != 0 {
		t.Errorf("still noted: %v", d.h.noted)
	}
}

// TestSuspects: of the jobs that are one loss short of dead one runs at a time in the same hands.
func TestSuspects(t *testing.T) {
	lost := by("living", GivenBack)
	lost.Lost = 2
	r := newRig(t)
	r.v.Suspect = true
	r.on(Delivered{again7}).recordRead(lost).headRead(job7).stored(100).want(Parking, "FreeSlot", "WriteClaim(given_back)")
	if w := r.write(); w.Record.Lost != 2 || w.TTL != 0 {
		t.Errorf("it is given back as %+v", w)
	}
	if n := r.stored(101).nak(); n.Delay == 0 {
		t.Error("it comes back at once")
	}
	r = newRig(t)
	r.v.Suspect = true
	once := by("living", GivenBack) // as all jobs of a host that was lost
	once.Lost = 1
	r.on(Delivered{again7}).recordRead(once).headRead(job7).stored(100).want(InRun, "Start")

	d := newDesk(t).session()
	start := func(lane string, r Record) {
		d.do(0, func() { d.h.Delivered(lane, again7, 0, 0) })
		d.do(0, func() { d.h.Lane(lane, RecordRead{Op: action[ReadRecord](d, lane).Op, Found: true, Record: r}) })
		d.do(0, func() { d.h.Lane(lane, HeadRead{Op: action[ReadHead](d, lane).Op, Head: job7}) })
		d.do(0, func() { d.h.Lane(lane, Stored{Op: action[WriteClaim](d, lane).Op, Seq: 100}) })
	}
	start("ci.a.1", lost)
	action[Start](d, "ci.a.1")
	start("ci.a.2", lost)
	if w := action[WriteClaim](d, "ci.a.2"); w.Record.State != GivenBack || d.h.suspects != 1 {
		t.Errorf("beside a suspect it writes %+v", w.Record)
	}
	d.do(0, func() { d.h.Lane("ci.a.1", Finished{Fence: 100, Outcome: Outcome{}}) })
	if d.h.suspects != 0 {
		t.Errorf("%d suspects run", d.h.suspects)
	}
}
