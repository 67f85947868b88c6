package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Engine is one worker's life with its queues. Start it once, Stop it once; the other methods may be called by any
// goroutine in between.
type Engine struct {
	opts   Options
	conn   *nats.Conn
	js     jetstream.JetStream
	lease  time.Duration
	lifeID string // begins the id of every write of this engine

	in     *inbox
	fence  *fence
	cancel context.CancelFunc
	tasks  sync.WaitGroup // loop, watch, audit, sweep
	runs   sync.WaitGroup
	ended  chan struct{} // closed when the loop has ended
	status atomic.Pointer[Status]
	// lastRound is when the loop began its last round, in nanoseconds since startedAt.
	lastRound atomic.Int64
	sweeps    []*sweeper

	// What follows belongs to the loop.
	holder       *lane.Holder
	wire         *wire
	api, kv      string // what comes before a request to JetStream, and before the subject of a key that is written
	queues       map[string]*queueState
	heads        map[string][]wanted
	writes       map[string]*write // by lane: the claim's write on its way
	ends         map[string]ending // by lane: the end of its turn on its way
	lastWrite    uint64
	sessionWrite *sessionWrite
	sessions     *streams.KeyWatch
	firstSeq     map[string]uint64 // of the own session's first record
	others       map[string]streams.SessionRecord
	skew         time.Duration // of the server's clock
	pulls        []*pull
	idlePulls    []*pull
	visits       map[string][]func() // by lane: what waits for its visit
	readying     []chan<- string     // Ready's callers
	unservedAt   map[string]time.Duration
	repliedAt    time.Duration // when it was told last that a reply goes nowhere
	slots        int
	phase        string // running, quiet, stopping
	startedAt    time.Time
	lastTick     time.Duration
	lastKeep     time.Duration
	heldPace     *rate.Limiter
	heldStale    bool        // what is in hand may have changed since OnHeld was called
	soon         *time.Timer // wakes the loop before the next tick
	inheriting   bool        // what a predecessor left is being given back: until then that is what a successor has to know of
	stopping     *stopping
	at           time.Duration
	deafSince    time.Duration // the connection stands, and no session does
	clustered    bool          // the server is one of several
}

// tickEvery is how often time passes for the machines.
const tickEvery = 100 * time.Millisecond

// Start joins the queues. It fails when a queue is unknown, was made by a newer version, or cannot be read; once it has
// returned, troubles with the server are waited out.
func Start(ctx context.Context, o Options) (*Engine, error) {
	o.defaults()
	if len(o.Queues) == 0 {
		return nil, errors.New("start the engine: no queue is named")
	}
	js, err := streams.JetStream(o.Conn)
	if err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	e := &Engine{
		opts: o, conn: o.Conn, js: js, api: streams.API(o.Conn), kv: streams.KV(o.Conn), lifeID: nuid.Next(), in: newInbox(), ended: make(chan struct{}),
		queues: map[string]*queueState{}, heads: map[string][]wanted{}, writes: map[string]*write{}, ends: map[string]ending{},
		others: map[string]streams.SessionRecord{}, visits: map[string][]func(){}, unservedAt: map[string]time.Duration{}, slots: o.Slots,
		phase: streams.StateRunning, startedAt: time.Now().UTC(), heldPace: rate.NewLimiter(rate.Every(heldEvery), heldAtOnce), soon: time.NewTimer(tickEvery),
	}
	served, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, subjects.WorkersBucket)
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", subjects.WorkersBucket, err)
	}
	if e.wire, err = newWire(o.Conn, e.in, e.now); err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	broken := lane.BuildBroken()
	if broken != 0 {
		o.Log.Error().Str("rules", broken.String()).Msg("THIS BUILD IS BROKEN ON PURPOSE: it runs without some rules that keep order")
	}
	e.holder = lane.NewHolder(served, streams.NewSessionID, rand.Float64)
	e.holder.Capacity(o.Slots)
	e.holder.Quiet(o.Waiting)
	e.fence = newFence(broken.Off(lane.RuleKillAtEnd))

	ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := e.watch(ctx, kv); err != nil {
		e.cancel()
		e.tasks.Wait()
		e.fence.close()
		_ = e.wire.close() // fails only when the connection is closed
		return nil, err
	}
	e.tasks.Add(1)
	go e.loop()
	for _, q := range o.Queues {
		if !broken.Off(lane.RuleAudit) {
			e.startAudit(ctx, q)
		}
		if !broken.Off(lane.RuleSweep) {
			e.startSweep(ctx, q)
		}
	}
	return e, nil
}

// watch begins to follow what others write, and takes over what a former engine left.
func (e *Engine) watch(ctx context.Context, kv jetstream.KeyValue) error {
	if err := e.watchSessions(ctx, kv); err != nil {
		return fmt.Errorf("watch the bucket %s: %w", subjects.WorkersBucket, err)
	}
	e.holder.At(e.now(), e.serverNow())
	if err := e.inherit(ctx, kv); err != nil {
		return fmt.Errorf("read the session of the former engine: %w", err)
	}
	for _, q := range e.opts.Queues {
		if err := e.watchPauses(ctx, q); err != nil {
			return err
		}
	}
	e.watchConnection(ctx)
	return nil
}

func (e *Engine) now() time.Duration {
	if e.at != 0 {
		return e.at
	}
	return clock.Boot()
}

func (e *Engine) serverNow() time.Time { return time.Now().Add(e.skew) }

// SetSlots sets how many jobs may run at once.
func (e *Engine) SetSlots(n int) {
	e.in.put(item{do: func() {
		e.slots = n
		e.holder.Capacity(n)
		e.holder.TouchSession()
	}})
}

// Quiet stops taking jobs, or goes on taking them; what runs goes on.
func (e *Engine) Quiet(on bool) {
	e.in.put(item{do: func() {
		if e.stopping != nil {
			return
		}
		e.phase = streams.StateRunning
		if on {
			e.phase = streams.StateQuiet
		}
		e.holder.Quiet(on)
		e.holder.TouchSession()
	}})
}

// jobEvent adds what a line about a job has.
func jobEvent(ev *zerolog.Event, r *run) *zerolog.Event {
	return ev.Str("queue", string(r.job.Queue)).Str("entity", r.job.Entity.String()).Str("kind", r.job.Header.Kind).
		Str("id", r.job.Header.ID).Uint64("seq", r.job.Seq).Uint64("fence", r.fence).Int("attempt", r.job.Attempt)
}
