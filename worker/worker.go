// Package worker runs jobs inside the user's own program: the same engine as workerd's, with functions in place of
// processes.
//
//	w, err := worker.Start(ctx, worker.Options{
//		Conn: nc, Queues: []string{"ci"}, Slots: 10,
//		Handlers: map[string]worker.Handler{"archive": archive},
//	})
//	…
//	err = w.Stop(ctx)
//
// # The price
//
// A process can be killed, a function cannot. When the program's lease is over (it was paused or cut off for too long)
// another host may run the next job of the same entity, so a handler that still runs has to go. Its context is
// cancelled; if it has not returned a second later, the program exits with ExitLeaseOver. Who cannot have that chooses
// Options.AllowOverlap, and gets at-least-once without exclusion in that one case; the job's fence still tells the
// resource which of the two is the newer.
//
// A handler that panics takes the program down, as anywhere in Go: the job counts as lost, and is dead after the queue's
// limit.
package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

// ExitLeaseOver is the code with which the program exits when a handler outlives its lease.
const ExitLeaseOver = 87

// leaveGrace is how long a handler has to return after its lease is over. The margin that a session ends before others
// may act on it is at least two seconds.
const leaveGrace = time.Second

// AnyKind is the key of the handler for kinds that have none of their own.
const AnyKind = "*"

// Job is a job as its handler sees it.
type Job struct {
	Queue string
	// Entity is the raw form, such as build.123; Type and EntityID are its parts.
	Entity, Type, EntityID string
	Kind, ID               string
	// Seq is the job's place in the queue. Fence grows with every grant of the entity: hand it to resources that can
	// refuse an older one.
	Seq, Fence uint64
	// Attempt counts from 1.
	Attempt int
	// Header holds the publisher's own headers.
	Header map[string]string
	Data   []byte
}

// Handler does a job. An error means that it is tried again, unless it is (or wraps) one made by Fatal. The context
// ends at the job's timeout, when the worker stops, and when the lease is over.
type Handler func(ctx context.Context, job *Job) error

// ErrFatal is what Fatal wraps.
var ErrFatal = errors.New("failed for good")

// Fatal makes err one that trying again cannot cure: the job is dead at once.
func Fatal(err error) error { return fmt.Errorf("%w: %w", ErrFatal, err) }

// Options are what a worker needs.
type Options struct {
	// Conn must not buffer publishes across a reconnect (nats.ReconnectBufSize(-1)): a buffered one would be sent when it
	// is not true any more. The worker does not close it.
	Conn *nats.Conn
	// Queues are in order of preference.
	Queues []string
	// ID names the worker; empty is the host's name and a random part.
	ID string
	// Slots is how many jobs run at once; 0 is 1.
	Slots int
	// Handlers by kind; AnyKind takes the rest.
	Handlers map[string]Handler
	// AllowOverlap lets a handler run on past its lease instead of ending the program.
	AllowOverlap bool
	// Log gets the engine's lines; its zero value is silent.
	Log *zerolog.Logger
}

// Worker is a started worker. Its methods may be called from any goroutine.
type Worker struct {
	engine    *engine.Engine
	schedules *schedule.Keeper
	deaf      func() // ends listening to operators
}

// Start joins the queues. The error says which queue is unknown or what else is wrong; later troubles with the server
// are waited out.
func Start(ctx context.Context, o Options) (*Worker, error) {
	if len(o.Handlers) == 0 {
		return nil, errors.New("start a worker: no handler is given")
	}
	if o.Conn.Opts.ReconnectBufSize >= 0 {
		return nil, errors.New("start a worker: the connection buffers publishes across a reconnect; connect with nats.ReconnectBufSize(-1)")
	}
	var queues []subjects.Queue
	for _, name := range o.Queues {
		q, err := subjects.ParseQueue(name)
		if err != nil {
			return nil, err
		}
		queues = append(queues, q)
	}
	if o.ID == "" {
		o.ID = streams.NewWorkerID()
	}
	log := zerolog.Nop()
	if o.Log != nil {
		log = *o.Log
	}
	kinds := slices.Sorted(maps.Keys(o.Handlers))
	host, _ := os.Hostname() // an unknown name is shown as none
	e, err := engine.Start(ctx, engine.Options{
		Conn: o.Conn, Queues: queues, Worker: o.ID, Slots: max(o.Slots, 1), Log: log,
		Runner: &runner{handlers: maps.Clone(o.Handlers), allowOverlap: o.AllowOverlap, grace: leaveGrace, exit: os.Exit},
		Describe: func(r *streams.SessionRecord) {
			r.Host, r.PID = host, os.Getpid()
			r.Pools = []streams.PoolRecord{{Name: "handlers", Mode: "in-process", Kinds: kinds, Slots: max(o.Slots, 1)}}
		},
	})
	if err != nil {
		return nil, err
	}
	w := &Worker{engine: e}
	if w.schedules, err = schedule.Start(schedule.Options{Conn: o.Conn, Queues: queues, Worker: o.ID, Log: log}); err != nil {
		return nil, errors.Join(err, e.Stop(context.WithoutCancel(ctx), ctx))
	}
	if w.deaf, err = streams.ServeControl(o.Conn, o.ID, w.controlled); err != nil {
		log.Warn().Err(err).Msg("this worker cannot be told by coordinator to cancel jobs or to be quiet")
		w.deaf = func() {}
	}
	return w, nil
}

// schedulesStop is how long the last steps of schedules may take. Another worker makes those that are left.
const schedulesStop = 2 * time.Second

// Stop takes no more jobs, waits for those that run until ctx ends, then cancels their contexts and waits for them to
// return. What ended early is handed back.
func (w *Worker) Stop(ctx context.Context) error {
	defer w.deaf()
	err := w.engine.Stop(context.WithoutCancel(ctx), ctx)
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), schedulesStop)
	defer cancel()
	w.schedules.Stop(bound)
	return err
}

// Quiet stops taking jobs, or goes on taking them.
func (w *Worker) Quiet(on bool) { w.engine.Quiet(on) }

// runner calls handlers.
type runner struct {
	handlers     map[string]Handler
	allowOverlap bool
	grace        time.Duration
	exit         func(int)
}

func (r *runner) handler(kind string) Handler {
	if h := r.handlers[kind]; h != nil {
		return h
	}
	return r.handlers[AnyKind]
}

// Serves says whether a handler takes the kind.
func (r *runner) Serves(kind string) bool { return r.handler(kind) != nil }

// Run calls the handler. Nothing but its return ends it.
func (r *runner) Run(ctx context.Context, j *engine.Job) lane.Outcome {
	run := ctx
	if j.Header.Timeout > 0 {
		var cancel context.CancelFunc
		run, cancel = context.WithTimeout(ctx, j.Header.Timeout)
		defer cancel()
	}
	done := make(chan struct{})
	defer close(done)
	if !r.allowOverlap {
		go r.guard(j, done)
	}
	err := r.handler(j.Header.Kind)(run, &Job{
		Queue: string(j.Queue), Entity: j.Entity.String(), Type: j.Entity.Type, EntityID: j.Entity.ID,
		Kind: j.Header.Kind, ID: j.Header.ID, Seq: j.Seq, Fence: j.Fence, Attempt: j.Attempt, Header: j.Header.Own, Data: j.Body,
	})
	switch {
	case err == nil:
		return lane.Outcome{Cause: lane.CauseDone}
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return lane.Outcome{Cause: lane.CauseInterrupted, Error: err.Error()}
	case errors.Is(err, ErrFatal):
		return lane.Outcome{Cause: lane.CauseFatal, Error: err.Error()}
	}
	return lane.Outcome{Cause: lane.CauseFailed, Error: err.Error()}
}

// guard ends the program when a handler outlives its lease.
func (r *runner) guard(j *engine.Job, done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-j.Kill:
	}
	select {
	case <-done:
	case <-time.After(r.grace):
		fmt.Fprintf(os.Stderr, "worker: the lease is over and job %s of %s still runs; exiting, because another host may run the next one\n",
			j.Header.ID, j.Entity)
		r.exit(ExitLeaseOver)
	}
}
