package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// member is a pool with what it was made from.
type member struct {
	cfg       config.Pool
	killAfter time.Duration
	pool      lifecycle.Pool
}

// newPools makes the pools that the configuration asks for.
func (d *daemon) newPools(cfg *config.Config) (*lifecycle.Set, error) {
	var list []lifecycle.Member
	var members []member
	for _, p := range cfg.Pools {
		m, err := d.newPool(p, cfg.Shutdown.KillAfter)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
		list = append(list, lifecycle.Member{Kinds: p.Kinds, Pool: m.pool})
	}
	d.members.Store(&members)
	d.telemetry.lookSoon()
	return lifecycle.NewSet(list...)
}

func (d *daemon) newPool(p config.Pool, killAfter time.Duration) (member, error) {
	pool, err := lifecycle.New(d.poolConfig(p, killAfter))
	return member{p, killAfter, pool}, err
}

// poolConfig is a pool's configuration in the words of package lifecycle.
func (d *daemon) poolConfig(p config.Pool, killAfter time.Duration) lifecycle.Config {
	mode := lifecycle.ModeExec
	if p.Mode == config.ModePool {
		mode = lifecycle.ModePool
	}
	c := lifecycle.Config{
		Name: p.Name, Mode: mode, Command: p.Command, Env: p.Env, User: p.User, Processes: p.Processes, Concurrency: p.Concurrency,
		KillAfter:  killAfter,
		Log:        func(l lifecycle.LogLine) { logLine(d.log, l) },
		OnEvent:    d.childEvent,
		OnProgress: d.progressed,
	}
	limit(&c, p)
	return c
}

// progressed hands on what a job says of itself: to the session's record, and to who waits for the job.
func (d *daemon) progressed(j lifecycle.Job, p lifecycle.Progress) {
	d.telemetry.progressed(j, p)
	if job := d.runs.job(runKey{subjects.Queue(j.Queue), j.Fence}); job != nil {
		job.Progress(p.At, p.Of, p.Note)
	}
}

// runner lets the engine run jobs in the pools.
type runner struct {
	pools *lifecycle.Set
	runs  *runs
}

// Serves says whether a pool takes the kind.
func (r runner) Serves(kind string) bool {
	_, ok := r.pools.PoolFor(kind)
	return ok
}

// Run runs a job in its kind's pool.
func (r runner) Run(ctx context.Context, j *engine.Job) lane.Outcome {
	h := j.Header
	key := runKey{j.Queue, j.Fence}
	r.runs.begin(key, j)
	defer r.runs.ended(key)
	ctx, release := gently(ctx)
	defer release()
	res := r.pools.Run(ctx, lifecycle.Job{
		Queue: string(j.Queue), Entity: j.Entity.String(), Type: j.Entity.Type, EntityID: j.Entity.ID,
		Kind: h.Kind, ID: h.ID, Seq: j.Seq, Fence: j.Fence, Attempt: j.Attempt, Timeout: h.Timeout,
		Headers: h.Own, Traceparent: h.Traceparent, Body: j.Body, Kill: j.Kill,
		Started: func(pid int) { r.runs.started(key, pid) },
	})
	return outcome(res)
}

// sharedLog begins a log that may hold words of other jobs.
const sharedLog = "[printed by a process that had other jobs too]\n"

// gently ends with ctx, and tells the pool where the job alone is meant and not the worker.
func gently(ctx context.Context) (context.Context, func()) {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if errors.Is(cause, engine.ErrCancelled) {
			cause = fmt.Errorf("%w: %w", cause, lifecycle.ErrCancel)
		}
		cancel(cause)
	})
	return inner, func() {
		stop()
		cancel(nil)
	}
}

// outcome says what a result means for the lane.
func outcome(res lifecycle.Result) lane.Outcome {
	o := lane.Outcome{
		Error: res.Err, RetryIn: res.RetryIn, Stuck: !res.GroupEmpty,
		Result: res.Body, Log: res.Log, StartedAt: res.StartedAt, Took: res.Took,
	}
	if res.LogShared && res.Log != "" {
		o.Log = sharedLog + res.Log
	}
	switch res.Cause {
	case lifecycle.Done:
		o.Cause = lane.CauseDone
	case lifecycle.FailedForGood:
		o.Cause = lane.CauseFatal
	case lifecycle.Crashed:
		o.Cause = lane.CauseCrashed
	case lifecycle.Memory:
		o.Cause = lane.CauseMemory
	case lifecycle.Interrupted:
		o.Cause = lane.CauseInterrupted
	case lifecycle.NotStarted:
		o.Cause, o.NotStarted = lane.CauseInterrupted, true
	default: // Failed, TimedOut
		o.Cause = lane.CauseFailed
	}
	return o
}

// logLine passes on what a process printed. It is the job's log, so it is never dropped by level.
func logLine(log zerolog.Logger, l lifecycle.LogLine) {
	ev := log.Info().Str("pool", l.Pool).Int("child", l.PID).Str("stream", l.Stream)
	if l.Seq != 0 {
		ev = ev.Str("queue", l.Queue).Str("entity", l.Entity).Str("kind", l.Kind).Uint64("seq", l.Seq).Int("attempt", l.Attempt)
	}
	ev.Msg(l.Text)
}

// logEvent tells what happened to a child.
func logEvent(log zerolog.Logger, e lifecycle.Event) {
	ev, text := log.Info(), "child "+string(e.Kind)
	level, words, memory := memoryEvent(e.Kind)
	switch {
	case memory:
		ev, text = log.WithLevel(level), words
	case e.Kind == lifecycle.EventStuck:
		ev = log.Error()
	case errors.Is(e.Err, lifecycle.ErrRecycled):
	case e.Err != nil:
		ev = log.Warn()
	case e.Kind == lifecycle.EventStarted:
		ev = log.Debug()
	}
	ev = ev.Str("pool", e.Pool).Int("child", e.PID)
	if e.Err != nil {
		ev = ev.Err(e.Err)
	}
	if e.Wait > 0 {
		ev = ev.Dur("next", e.Wait)
	}
	var exit *lifecycle.ExitError
	if errors.As(e.Err, &exit) {
		ev = ev.Int("status", exit.Code)
	}
	if hint := problem.Hint(e.Err); hint != "" {
		ev = ev.Str("hint", hint)
	}
	ev.Msg(text)
}
