package lane

import "time"

// Head is what a head read showed: the first message of the lane, or that there is none.
type Head struct {
	Found bool
	Seq   uint64
	// More says that jobs stood behind it when it was read.
	More bool
	// Kind is the job's, for limits.
	Kind string
	// MaxAttempts is the job's own limit; 0 takes the queue's.
	MaxAttempts int
	// Pass and Halt are the job's own wishes for Config.Pass and Config.Halt.
	Pass, Halt Choice
	// Counts are what the job was charged with before it was moved to where it is now, and Tries how.
	Counts Counts
	Tries  []Try
	// Invalid says why the job cannot be used at all; empty when it can.
	Invalid string
	// Unserved says that no pool here runs the job's kind.
	Unserved bool
	// Payload is the driver's own: body and headers. The algorithm hands it back in Start and MoveDead.
	Payload any
}

// Choice is a job's own word where the queue has one too.
type Choice uint8

// The choices.
const (
	Default Choice = iota // the queue's
	Yes
	No
)

// or is the choice, or the queue's.
func (c Choice) or(queue bool) bool { return c == Yes || c == Default && queue }

// View is what a lane's machine may know of the world beside its own state: a snapshot for one step.
type View struct {
	Config
	// Now is the holder's clock.
	Now time.Duration
	// ServerNow is the server's wall clock as well as the holder knows it; used for delays alone, never for safety.
	ServerNow time.Time
	// Worker is the holder's id, for people.
	Worker string
	// Session is the id of the session that stands; empty when none does.
	Session string
	// Until is when that session is over, on the holder's clock.
	Until time.Duration
	// Created is the creation time of JOBS.
	Created int64
	// Draining says that no further job may be started.
	Draining bool
	// Paused says that an operator paused the lane.
	Paused bool
	// Type is the type of the lane's entity, and Gate what grants permits for its jobs; nil is no limits. It is not pure:
	// like Random it answers differently each time.
	Type string
	Gate Gate
	// Suspect says that another job runs in these hands that is one loss short of dead.
	Suspect bool
	// NoSlot says that the turn just delivered has no slot to run in.
	NoSlot bool
	// OthersWait says that other lanes wait for a turn, as far as known.
	OthersWait bool
	// Dead says whether a session said goodbye or was declared dead.
	Dead func(session string) bool
	// Random is in [0,1); it spreads delays.
	Random func() float64
	// Backoff is the delay before the attempt that follows the given one.
	Backoff func(attempt int) time.Duration
}

// alive says whether the holder may believe in its session.
func (v *View) alive() bool { return v.Session != "" && v.Now < v.Until }

// Verdict is what a record and a head mean together.
type Verdict uint8

// The verdicts.
const (
	// Fresh: the lane is free; claim the head with zero counts.
	Fresh Verdict = iota
	// Again: the head is the record's job and nobody runs it; claim with the record's counts.
	Again
	// Steal: its session is dead; claim with one more loss and the mark.
	Steal
	// Busy: somebody who lives has it.
	Busy
	// NotDue: it waits for its retry.
	NotDue
	// Stale: the read showed the past.
	Stale
	// Empty: no job is left.
	Empty
	// Stands: the lane is halted; it has no turn until an operator acts.
	Stands
)

var verdictNames = [...]string{"fresh", "again", "steal", "busy", "not-due", "stale", "empty", "stands"}

// String names the verdict.
func (v Verdict) String() string { return verdictNames[v] }

// Decide is the rule after a refused claim. The record was read from the leader and the head after it, and nothing
// runs for this lane in this holder. It is the only place that decides who may replace whose claim. v.Dead must answer
// from what was known before the head was read, see verdict.
func Decide(r Record, h Head, v *View) Verdict {
	return verdict(r, h, v, r.active() && v.Dead(r.Session))
}

// active says that something may run under the record.
func (r Record) active() bool { return r.State == Running || r.State == Held }

// verdict is Decide for who knew, before sending the read that gave the head, whether the record's session was over. A
// goodbye that comes later does not count: between the read and the goodbye its holder may have finished the job, and
// the head would still show it.
func verdict(r Record, h Head, v *View, over bool) Verdict {
	if !h.Found {
		return Empty
	}
	own := r.Session == v.Session && v.Session != ""
	active := r.active()
	gone := active && !own && over
	foreign := active && !own && !gone

	if r.Created != v.Created {
		// The stream was made anew under the record: its sequences mean other jobs, but a process may still run.
		if foreign {
			return Busy
		}
		return Fresh
	}
	if r.State == Held && foreign {
		// An operator's command may remove several jobs: a missing one says nothing about the others.
		return Busy
	}
	switch {
	case h.Seq > r.Job:
		// The record's job is gone: normally that is the release. A stolen job may have been deleted by a late message of
		// its former holder while it runs here: then only its present holder, or that one's death, frees the lane.
		if r.Stolen && foreign {
			return Busy
		}
		return Fresh
	case h.Seq < r.Job:
		// Or the claim was written on a guess, for a job further back, by a holder that never came to start it: for such a
		// claim the head was read late enough to be no stale one.
		if active && !foreign || v.Broken.Off(RuleStaleHead) {
			return Fresh
		}
		return Stale
	}
	switch r.State {
	case GivenBack:
		return Again
	case Waiting:
		if r.Due(v.ServerNow) > 0 {
			return NotDue
		}
		return Again
	case Halted:
		return Stands
	case Done:
		return Stale
	case Running, Held:
		switch {
		case own:
			return Again // a claim whose answer was lost, or a start that never came to be
		case gone:
			return Steal
		}
	}
	return Busy
}
