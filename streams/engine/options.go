package engine

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Job is a job that may run: the head of its lane, under a claim.
type Job struct {
	Queue   subjects.Queue
	Entity  subjects.Entity
	Header  subjects.JobHeader
	Seq     uint64
	Fence   uint64
	Attempt int
	Body    []byte
	// Kill is closed when the job has to be ended at once, because its lane may be somebody else's any moment. The
	// context is cancelled by then too; it alone says to end the job with a chance to finish.
	Kill <-chan struct{}

	tell *teller // nil when nobody waits for the job
}

// Runner runs jobs.
type Runner interface {
	// Run runs one job and returns when nothing of it is left. It is called on a goroutine of its own. When ctx is
	// cancelled the job is to be ended, when Job.Kill is closed at once.
	Run(ctx context.Context, job *Job) lane.Outcome
	// Serves says whether jobs of this kind run here. Any goroutine may call it.
	Serves(kind string) bool
}

// Options are what an engine needs.
type Options struct {
	// Conn is used by the engine alone until Stop returns; it must not buffer publishes across a reconnect.
	Conn *nats.Conn
	// Queues, in order of preference.
	Queues []subjects.Queue
	// Weights are the queues' shares of the starts while several have work waiting: all have one, or none, and then the
	// order decides.
	Weights map[subjects.Queue]int
	// Worker is the worker's id; each session's id is made from it.
	Worker string
	// Slots is how many jobs may run at once at first; SetSlots changes it.
	Slots  int
	Runner Runner
	Log    zerolog.Logger
	// Waiting lets it join the queues, and take no job before the first Quiet(false).
	Waiting bool
	// Describe adds to the session's record what the engine does not know (children, memory). It is called on the
	// engine's loop and must not block.
	Describe func(*streams.SessionRecord)
	// Observe is told what happens. It is called on the engine's loop and must not block.
	Observe func(Event)
	// OnHeld is told what the engine has in hand whenever that changed, at a bounded rate, for a Predecessor later. It is
	// called on the engine's loop and must not block. nil is nobody.
	OnHeld func(Held)
	// Predecessor is what a former engine of this worker left; its groups must have been seen to be empty.
	Predecessor *Predecessor
	// AuditDelay is how long a job is left alone before the audit looks whether its lane has a turn; 0 is 5 s.
	AuditDelay time.Duration
	// SweepEvery is the time between two sweeps of a queue; 0 is 3 minutes.
	SweepEvery time.Duration
}

func (o *Options) defaults() {
	if o.AuditDelay == 0 {
		o.AuditDelay = 5 * time.Second
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = 3 * time.Minute
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if o.Describe == nil {
		o.Describe = func(*streams.SessionRecord) {}
	}
}
