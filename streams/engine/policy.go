package engine

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// queueState is what the loop knows of a queue.
type queueState struct {
	name   subjects.Queue
	loaded streams.Loaded
	gate   *gate
	pauses *streams.PausedWatch
	// No turns are pulled while the queue is paused, before its pauses are known, and while a newer version has it.
	paused, pausesKnown, newer bool
	told                       error // the trouble that was logged last
	// refusedAt is since when pulls are refused, 0 when they are not; refusalTold says that it was logged.
	refusedAt   time.Duration
	refusalTold bool
	// replicated says that there may be more than one copy.
	replicated bool
	// recordAsked is when it was asked last whether records of finished jobs are stored; historyLost says that it was told
	// that they are not.
	recordAsked time.Duration
	historyLost bool
}

// replicated says whether a queue's streams may have more than one copy. In a cluster any queue may get more of them while
// it is worked on, some time before its workers hear of that, and then a copy that lags would show what is done: there
// only leaders are read, always.
func (e *Engine) replicated(l streams.Loaded) bool {
	e.clustered = e.clustered || streams.Domain(e.conn) != "" || // of whose servers nothing is known here
		e.conn.ConnectedClusterName() != "" // which is empty while the connection is down
	return l.Replicas > 1 || e.clustered
}

// queue is the state of a lane's queue.
func (e *Engine) queue(name string) *queueState { return e.queues[queueOf(name)] }

// load reads the queues' policies at the start.
func (e *Engine) load(ctx context.Context) ([]lane.Queue, error) {
	var served []lane.Queue
	for _, q := range e.opts.Queues {
		loaded, err := streams.LoadQueue(ctx, e.js, q)
		if err != nil {
			return nil, err
		}
		p := loaded.Policy
		limits := limitsOf(p)
		cfg := lane.DefaultConfig(p.Lease)
		cfg.MaxAttempts, cfg.MaxCrashes, cfg.MaxLost = limits.MaxAttempts, limits.MaxCrashes, limits.MaxLost
		cfg.Pass, cfg.Halt = limits.Pass, limits.Halt
		cfg.Replicated = e.replicated(loaded)
		cfg.Broken = lane.BuildBroken()
		g := e.newGate(q, p.Limits)
		e.queues[string(q)] = &queueState{name: q, loaded: loaded, replicated: cfg.Replicated, gate: g}
		served = append(served, lane.Queue{
			Name: string(q), Config: cfg, Created: loaded.Created.UnixNano(), Backoff: limits.Backoff,
			Weight: e.opts.Weights[q], Gate: g, Worker: e.opts.Worker,
		})
		if e.lease == 0 || p.Lease < e.lease {
			e.lease = p.Lease
		}
	}
	return served, nil
}

func limitsOf(p streams.Policy) lane.Limits {
	return lane.Limits{
		MaxAttempts: p.MaxAttempts, MaxCrashes: p.MaxCrashes, MaxLost: p.MaxLost,
		Pass: p.OnFailure == streams.FailurePass, Halt: p.OnDead == streams.DeadHalt,
		Backoff: func(attempt int) time.Duration { return p.Delay(attempt, rand.Float64) },
	}
}

// reload reads a queue's policy anew, because somebody may have edited it, or made the queue anew.
func (e *Engine) reload(ctx context.Context, q subjects.Queue) {
	loaded, err := streams.LoadQueue(ctx, e.js, q)
	if ctx.Err() == nil {
		e.in.put(item{do: func() { e.reloaded(string(q), loaded, err) }})
	}
}

func (e *Engine) reloaded(name string, l streams.Loaded, err error) {
	q := e.queues[name]
	log := e.opts.Log.With().Str("queue", name).Logger()
	switch {
	case errors.Is(err, streams.ErrNewerSchema):
		if q.told == nil {
			log.Error().Err(err).Msg("no further jobs of the queue are taken")
		}
		q.told, q.newer = err, true
		e.halt(q)
		return
	case errors.Is(err, streams.ErrUnknownQueue):
		if q.told == nil {
			log.Error().Err(err).Msg("the queue was deleted; waiting for it to be made anew")
		}
		q.told = err
		return
	case err != nil:
		return // the server is away; whoever needs it says so
	}
	if q.told = nil; q.newer {
		log.Warn().Msg("the queue is of this version again: jobs are taken")
		q.newer = false
		e.halt(q)
	}
	if l.Policy.Lease != q.loaded.Policy.Lease {
		log.Warn().Dur("lease", l.Policy.Lease).Msg("the queue's lease was changed; this worker uses it after its next start")
	}
	if !l.Created.Equal(q.loaded.Created) {
		log.Warn().Msg("the queue was made anew")
		e.holder.Created(name, l.Created.UnixNano())
		q.gate.Reset()
		q.pauses.Anew() // what was paused there is paused no more, and a queue that is paused would never run
	}
	if !maps.Equal(l.Policy.Limits, q.loaded.Policy.Limits) {
		log.Info().Str("limits", streams.LimitsText(l.Policy.Limits)).Msg("limits changed")
	}
	q.loaded, q.replicated = l, e.replicated(l)
	q.gate.SetLimits(l.Policy.Limits)
	e.holder.SetLimits(name, limitsOf(l.Policy), q.replicated)
}
