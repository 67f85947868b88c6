package lane

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// rig drives one lane's machine by hand.
type rig struct {
	t    testing.TB
	s    State
	v    View
	dead map[string]bool
	out  []Action // of the last event
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, dead: map[string]bool{"dead": true}}
	r.v = View{
		Config: DefaultConfig(15 * time.Second), Now: time.Hour, ServerNow: time.Unix(1000, 0),
		Session: "own", Until: time.Hour + 12*time.Second, Created: 1,
		Dead:   func(s string) bool { return r.dead[s] },
		Random: func() float64 { return 0 }, Backoff: func(int) time.Duration { return time.Second },
	}
	return r
}

// on gives the machine an event.
func (r *rig) on(e Event) *rig {
	r.s, r.out = Next(r.s, e, &r.v, nil)
	return r
}

// later lets time pass, without a tick; the session is kept.
func (r *rig) later(d time.Duration) *rig {
	r.v.Now += d
	r.v.ServerNow = r.v.ServerNow.Add(d)
	r.v.Until += d
	return r
}

// The answers to what is on its way.
func (r *rig) headRead(h Head) *rig    { return r.on(HeadRead{Op: r.s.read.op, Head: h}) }
func (r *rig) noRecord() *rig          { return r.on(RecordRead{Op: r.s.read.op}) }
func (r *rig) stored(seq uint64) *rig  { return r.on(Stored{Op: r.s.write.op, Seq: seq}) }
func (r *rig) finished(o Outcome) *rig { return r.on(Finished{Fence: r.s.fence, Outcome: o}) }
func (r *rig) recordRead(rec Record) *rig {
	return r.on(RecordRead{Op: r.s.read.op, Found: true, Record: rec})
}
func (r *rig) deleted() *rig { return r.on(Deleted{Op: r.s.step.op}) }

// want checks the phase and the actions of the last event.
func (r *rig) want(p Phase, actions ...string) *rig {
	r.t.Helper()
	if r.s.Phase != p {
		r.t.Fatalf("phase %v, want %v; %s", phaseNames[r.s.Phase], phaseNames[p], r.did())
	}
	if actions != nil && r.did() != strings.Join(actions, " ") {
		r.t.Fatalf("it did %q, want %q", r.did(), strings.Join(actions, " "))
	}
	return r
}

// did names the actions of the last event.
func (r *rig) did() string {
	var names []string
	for _, a := range r.out {
		names = append(names, actionName(a))
	}
	return strings.Join(names, " ")
}

func actionName(a Action) string {
	name := strings.TrimPrefix(fmt.Sprintf("%T", a), "lane.")
	switch a := a.(type) {
	case WriteClaim:
		name += "(" + string(a.Record.State)
		if a.Record.Stolen {
			name += ",stolen"
		}
		if a.Record.Dying {
			name += ",dying"
		}
		if a.Record.Passing {
			name += ",passing"
		}
		name += ")"
	case Kill:
		if a.Now {
			name += "(now)"
		}
		if a.Cancel {
			name += "(cancel)"
		}
	case Report:
		name += "(" + a.End.String() + ")"
	}
	return name
}

// write is the claim that the last event sent.
func (r *rig) write() WriteClaim {
	r.t.Helper()
	for _, a := range r.out {
		if w, ok := a.(WriteClaim); ok {
			return w
		}
	}
	r.t.Fatalf("no claim was written but %q", r.did())
	return WriteClaim{}
}

// nak is the turn that the last event gave back.
func (r *rig) nak() NakTurn {
	r.t.Helper()
	for _, a := range r.out {
		if n, ok := a.(NakTurn); ok {
			return n
		}
	}
	r.t.Fatalf("no turn was given back but %q", r.did())
	return NakTurn{}
}

var (
	turn7   = Turn{Seq: 1, Delivered: 1, Guess: 7}
	again7  = Turn{Seq: 1, Delivered: 2, Guess: 7}
	job7    = Head{Found: true, Seq: 7}
	job7of2 = Head{Found: true, Seq: 7, More: true}
	job8    = Head{Found: true, Seq: 8}
)

// by is a record about job 7.
func by(session string, s Standing) Record {
	return Record{State: s, Session: session, Job: 7, Created: 1, Attempt: 1, Seq: 90}
}

// running is a lane whose job 7 runs under fence 100.
func running(t testing.TB) *rig {
	return newRig(t).on(Delivered{turn7}).headRead(job7).stored(100).want(InRun)
}

// stealing is a lane whose job 7 was stolen and runs under fence 101.
func stealing(t testing.TB) *rig {
	return newRig(t).on(Delivered{again7}).recordRead(by("dead", Running)).headRead(job7).stored(101).want(InRun)
}

// inPhase is a lane in each phase, as it gets there.
func inPhase(t testing.TB, p Phase) *rig {
	switch p {
	case Idle:
		return newRig(t)
	case Opening:
		return newRig(t).on(Delivered{turn7})
	case Examining:
		return newRig(t).on(Delivered{again7})
	case InRun:
		return running(t)
	case Killing:
		return running(t).on(Stop{})
	case Moving:
		return running(t).finished(Outcome{Cause: CauseFatal}).stored(102)
	case Settling:
		return running(t).finished(Outcome{})
	case Marking:
		return stealing(t).finished(Outcome{}).deleted()
	case Parking:
		return running(t).finished(Outcome{Cause: CauseFailed})
	case Returning:
		return newRig(t).on(Delivered{again7}).recordRead(by("living", Running)).headRead(job7)
	case Ending:
		return newRig(t).on(Delivered{turn7}).stored(100).headRead(Head{})
	case Looking:
		r := inPhase(t, Ending)
		return r.on(Ended{r.s.step.op})
	case Relaying:
		return inPhase(t, Looking).headRead(job8).noRecord()
	case Orphaned:
		return inPhase(t, Settling).on(SessionOver{})
	case Reclaiming:
		r := inPhase(t, Orphaned)
		r.v.Session = "next"
		return r.on(SessionNew{})
	case Stuck:
		return running(t).finished(Outcome{Cause: CauseInterrupted, Stuck: true})
	case Gone:
		r := inPhase(t, Returning)
		return r.on(Returned{r.s.step.op})
	}
	t.Fatalf("no way to phase %d", p)
	return nil
}
