package lane

import (
	"testing"
	"time"
)

// Each of these was found by the simulator, or by reading for it. They say in few steps what a history of thousands
// showed.

// TestLateDeleteMark: a job that ended well, and whose delete got no answer before the session ended, may be deleted by
// a late message at any moment. Whoever has its claim from then on has to carry the mark.
func TestLateDeleteMark(t *testing.T) {
	r := inPhase(t, Reclaiming)
	r.recordRead(by("own", Running))
	w := r.write()
	if !w.Record.Stolen || w.Record.Session != "next" || w.Expect != 90 {
		t.Errorf("it is claimed as %+v, expecting %d", w.Record, w.Expect)
	}
	r.stored(110).want(Settling, "DeleteJob")
	r.deleted().want(Marking, "Report(done)", "WriteClaim(done,stolen)")
	r.stored(111).want(Ending)
}

// TestExpiredWithDelete: the same when the claim has expired meanwhile: an empty claim would be no mark.
func TestExpiredWithDelete(t *testing.T) {
	w := inPhase(t, Reclaiming).noRecord().want(Reclaiming).write()
	if !w.Record.Stolen || w.Record.State != Running || w.Expect != 0 || w.Record.Job != 7 {
		t.Errorf("it is claimed as %+v, expecting %d", w.Record, w.Expect)
	}
	// With nothing on its way there is nothing to mark.
	r := running(t).on(SessionOver{}).finished(Outcome{Cause: CauseInterrupted})
	r.v.Session = "next"
	r.on(SessionNew{}).noRecord().want(Returning, "NakTurn")
}

// TestReclaimWithoutDelete: a job that was interrupted before it ended has no delete on its way.
func TestReclaimWithoutDelete(t *testing.T) {
	r := running(t).on(SessionOver{}).want(Killing, "Kill(now)").finished(Outcome{Cause: CauseInterrupted}).want(Orphaned)
	r.v.Session = "next"
	r.on(SessionNew{}).want(Reclaiming).recordRead(by("own", Running))
	w := r.write()
	if w.Record.State != GivenBack || w.Record.Stolen || w.Record.Interrupted != 1 || w.TTL != 0 {
		t.Errorf("it is given back as %+v for %v", w.Record, w.TTL)
	}
	r.stored(110).want(Returning, "NakTurn")
}

// TestReclaimSettles: how a run ended is not forgotten because its session did: a failure is counted, a job that ended
// well is deleted.
func TestReclaimSettles(t *testing.T) {
	for _, c := range []struct {
		cause Cause
		next  Phase
		did   string
	}{
		{CauseDone, Settling, "DeleteJob"},
		{CauseFailed, Parking, "WriteClaim(waiting)"},
		{CauseFatal, Parking, "WriteClaim(running,dying)"},
	} {
		r := running(t).on(SessionOver{}).finished(Outcome{Cause: c.cause}).want(Orphaned)
		r.v.Session = "next"
		r.on(SessionNew{}).recordRead(by("own", Running)).want(Reclaiming, "WriteClaim(running)").stored(110)
		r.want(c.next, c.did)
	}
}

// TestReclaimStolen: a claim that somebody has stolen is not touched.
func TestReclaimStolen(t *testing.T) {
	inPhase(t, Reclaiming).recordRead(by("living", Running)).want(Returning, "NakTurn")
}

// TestGoodbyeAfterRead: a session that is known to be over only after the head was read may have finished that very
// job in between.
func TestGoodbyeAfterRead(t *testing.T) {
	r := newRig(t).on(Delivered{again7}).recordRead(by("living", Running)).want(Examining, "ReadHead")
	r.dead["living"] = true
	r.headRead(job7).want(Returning)
	// Known before, it is stolen.
	r.on(Delivered{again7}).recordRead(by("living", Running)).headRead(job7).want(Examining, "WriteClaim(running,stolen)")
}

// TestLateLeader: on a replicated queue a head that shows the job of an abandoned claim is read once more, a while later:
// a leader that was just elected may show a job that its own former holder has finished. A later head is no such one.
func TestLateLeader(t *testing.T) {
	for _, session := range []string{"own", "dead"} {
		r := newRig(t)
		r.v.Replicated = true
		r.on(Delivered{again7}).recordRead(by(session, Running)).want(Examining, "ReadHead")
		if r.headRead(job7); r.did() != "" {
			t.Fatalf("it did %q at once", r.did())
		}
		r.later(r.v.ReadLag / 2).on(Tick{})
		if r.did() != "" {
			t.Fatalf("it did %q too early", r.did())
		}
		r.later(r.v.ReadLag).on(Tick{}).want(Examining, "ReadHead")
		r.headRead(job8).want(Examining, "WriteClaim(running)")
		// The next examination begins anew.
		r.on(Refused{Op: r.s.write.op}).recordRead(by(session, Running)).want(Examining, "ReadHead")
		if r.headRead(job7); r.did() != "" {
			t.Fatalf("it did %q at once, the second time", r.did())
		}

		r = newRig(t)
		r.v.Replicated = true
		r.on(Delivered{again7}).recordRead(by(session, Running)).headRead(job8).want(Examining, "WriteClaim(running)")
	}
	// Nobody waits for a lane that was given back.
	r := newRig(t)
	r.v.Replicated = true
	r.on(Delivered{again7}).recordRead(by("living", GivenBack)).want(Examining, "ReadHead")
}

// TestWrongGuess: a claim on a guess that was wrong is replaced by whoever may, and does not block the lane until it
// expires.
func TestWrongGuess(t *testing.T) {
	r := newRig(t).on(Delivered{again7}).recordRead(Record{State: Running, Session: "own", Job: 9, Created: 1, Seq: 90})
	r.headRead(job7)
	if w := r.write(); w.Record.Job != 7 || w.Expect != 90 || !w.Record.Counts.Zero() {
		t.Errorf("it claims %+v expecting %d", w.Record, w.Expect)
	}
}

// TestOldClaim: a job is not started under a claim that is about to expire, however long the head took.
func TestOldClaim(t *testing.T) {
	r := newRig(t).on(Delivered{turn7}).stored(100).want(Opening)
	for range 5 {
		r.later(10*time.Second).on(Tick{}).want(Opening, "ReadHead")
	}
	r.headRead(job7).want(Opening, "WriteClaim(running)")
	if w := r.write(); w.Expect != 100 || w.Record.Job != 7 {
		t.Errorf("it claims job %d expecting %d", w.Record.Job, w.Expect)
	}
	r.stored(101).want(InRun, "Start")
}

// TestNoDeleteUnderOldClaim: a holder whose loop stood still looks at its record before it deletes.
func TestNoDeleteUnderOldClaim(t *testing.T) {
	r := running(t).later(58*time.Second).finished(Outcome{}).want(Reclaiming, "FreeSlot", "ReadRecord")
	r.recordRead(by("own", Running)).want(Reclaiming, "WriteClaim(running)").stored(101).want(Settling, "DeleteJob")
	r.later(58*time.Second).on(Tick{}).want(Reclaiming, "ReadRecord")
}

// TestLostClaimIsReleased: a run whose claim could not be kept leaves no claim that runs in a session that lives.
func TestLostClaimIsReleased(t *testing.T) {
	r := running(t).later(58*time.Second).on(Tick{}).want(Killing, "Kill(now)")
	r.finished(Outcome{Cause: CauseInterrupted}).want(Reclaiming, "FreeSlot", "ReadRecord")
	r.recordRead(by("own", Running)).want(Reclaiming, "WriteClaim(given_back)").stored(102).want(Returning)
}

// TestOwnClaimOfUnserved: a claim of one's own that was left over is given back also by a holder that cannot run it.
func TestOwnClaimOfUnserved(t *testing.T) {
	r := newRig(t).on(Delivered{again7}).recordRead(by("own", Running))
	r.headRead(Head{Found: true, Seq: 7, Unserved: true}).want(Reclaiming)
	r.recordRead(by("own", Running)).want(Reclaiming, "WriteClaim(given_back)")
}

// TestStuckEndsWithSession: a group that could not be shown to be empty keeps its lane for the session, and no longer.
func TestStuckEndsWithSession(t *testing.T) {
	inPhase(t, Stuck).on(SessionOver{}).want(Gone, "Kill(now)", "Drop")
	running(t).on(SessionOver{}).finished(Outcome{Cause: CauseInterrupted, Stuck: true}).want(Gone, "FreeSlot", "Drop")
}

// TestNoAnswerToNothing: an answer without a number is nobody's.
func TestNoAnswerToNothing(t *testing.T) {
	inPhase(t, Examining).on(Stored{}).want(Examining, []string{}...).on(Refused{}).want(Examining)
	inPhase(t, Settling).on(HeadRead{}).want(Settling)
}
