package engine

import (
	"time"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// EventKind says what happened.
type EventKind uint8

// What an engine tells of.
const (
	// EventTurn: a turn was delivered for Queue; the other fields are empty.
	EventTurn EventKind = iota + 1
	// EventStart: a job was handed to the runner. Took is how long it had waited since it was published.
	EventStart
	// EventEnd: the runner is done with a job. Took is how long it ran; Outcome and Error say how it ended.
	EventEnd
	// EventDead: a job was given up, its dead letter is stored, and it is deleted. Outcome and Error say why.
	EventDead
	// EventSessionLost: no confirmation came in time; everything that runs is killed. Only Error is set.
	EventSessionLost
)

// Event is something that happened to the engine's work.
type Event struct {
	Kind  EventKind
	Queue subjects.Queue
	// Entity, Header, Seq, Fence and Attempt are the job's.
	Entity     subjects.Entity
	Header     subjects.JobHeader
	Seq, Fence uint64
	Attempt    int
	Took       time.Duration
	Outcome    string
	Error      string
}

// eventOf is an event of a run.
func eventOf(kind EventKind, r *run, took time.Duration) Event {
	return Event{
		Kind: kind, Queue: r.job.Queue, Entity: r.job.Entity, Header: r.job.Header, Seq: r.job.Seq, Fence: r.fence,
		Attempt: r.job.Attempt, Took: took,
	}
}

// Status is what the loop last knew of itself.
type Status struct {
	// Session is the session's id, "" while none stands: then no job may start, and none goes on.
	Session string
	// State is running, quiet or stopping.
	State string
	// Lanes is how many are in hand: being opened, run or settled.
	Lanes int
	// Slots is how many jobs may run at once.
	Slots int
	// Lease is the session's.
	Lease time.Duration
}

// Idle says that nothing runs and nothing will: the engine is quiet or stopping, and no lane is in hand.
func (s Status) Idle() bool { return s.State != "" && s.State != streams.StateRunning && s.Lanes == 0 }

// Status is the loop's state at the end of its last round. Any goroutine; it never waits for the loop.
func (e *Engine) Status() Status {
	if s := e.status.Load(); s != nil {
		return *s
	}
	return Status{}
}

// Silence is how long ago the loop began its last round, without time spent in suspend. A loop that lives is silent for
// a little more than a tenth of a second at most. Any goroutine; it never waits for the loop.
func (e *Engine) Silence() time.Duration {
	return time.Since(e.startedAt) - time.Duration(e.lastRound.Load())
}

// Touch has the session's record rewritten soon, because what Describe says has changed. The rate is bounded.
func (e *Engine) Touch() { e.in.put(item{do: func() { e.holder.TouchSession() }}) }

// Kill ends all running jobs at once. It is meant for a Stop whose drain is over.
func (e *Engine) Kill() { e.fence.each(func(r *run) { r.end(true, nil) }) }

// tellStatus publishes what the loop knows at the end of a round.
func (e *Engine) tellStatus() {
	now := Status{State: e.phase, Lanes: e.holder.Lanes(), Slots: e.slots, Lease: e.lease}
	if s := e.holder.Session(); s.Phase == lane.SessionStands {
		now.Session = s.ID
	}
	if last := e.status.Load(); last == nil || *last != now {
		e.status.Store(&now)
	}
}
