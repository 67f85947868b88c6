package daemon

import (
	"context"
	"errors"
	"os"

	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/workerd/config"
)

// newPools makes the pools that the configuration asks for.
func newPools(cfg *config.Config, log zerolog.Logger) (*lifecycle.Set, error) {
	var members []lifecycle.Member
	for _, p := range cfg.Pools {
		mode := lifecycle.ModeExec
		if p.Mode == config.ModePool {
			mode = lifecycle.ModePool
		}
		pool, err := lifecycle.New(lifecycle.Config{
			Name: p.Name, Mode: mode, Command: p.Command, Env: p.Env, Processes: p.Processes, Concurrency: p.Concurrency,
			KillAfter: cfg.Shutdown.KillAfter,
			Log:       func(l lifecycle.LogLine) { logLine(log, l) },
			OnEvent:   func(e lifecycle.Event) { logEvent(log, e) },
		})
		if err != nil {
			return nil, err
		}
		members = append(members, lifecycle.Member{Kinds: p.Kinds, Pool: pool})
	}
	return lifecycle.NewSet(members...)
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
	defer r.runs.ended(key)
	res := r.pools.Run(ctx, lifecycle.Job{
		Queue: string(j.Queue), Entity: j.Entity.String(), Type: j.Entity.Type, EntityID: j.Entity.ID,
		Kind: h.Kind, ID: h.ID, Seq: j.Seq, Fence: j.Fence, Attempt: j.Attempt, Timeout: h.Timeout,
		Headers: h.Own, Traceparent: h.Traceparent, Body: j.Body, Kill: j.Kill,
		Started: func(pid int) { r.runs.started(key, pid) },
	})
	return outcome(res)
}

// outcome says what a result means for the lane.
func outcome(res lifecycle.Result) lane.Outcome {
	o := lane.Outcome{Error: res.Err, RetryIn: res.RetryIn, Stuck: !res.GroupEmpty}
	switch res.Cause {
	case lifecycle.Done:
		o.Cause = lane.CauseDone
	case lifecycle.FailedForGood:
		o.Cause = lane.CauseFatal
	case lifecycle.Crashed:
		o.Cause = lane.CauseCrashed
	case lifecycle.Interrupted:
		o.Cause = lane.CauseInterrupted
	case lifecycle.NotStarted:
		o.Cause, o.NotStarted = lane.CauseInterrupted, true
	default: // Failed, TimedOut
		o.Cause = lane.CauseFailed
	}
	return o
}

// describe adds to the session's record what the engine does not know.
func (d *daemon) describe(r *streams.SessionRecord) {
	r.Host, _ = os.Hostname() // an unknown name is shown as none
	r.PID = d.link.PID()
	r.Version = version.String()
	r.RSSBytes = lifecycle.RSS(os.Getpid())
	if r.PID != os.Getpid() {
		r.RSSBytes += lifecycle.RSS(r.PID)
	}
	for _, c := range d.pools.Children() {
		r.Children = append(r.Children, streams.ChildRecord{
			PID: c.PID, Pool: c.Pool, State: string(c.State), RSSBytes: c.RSSBytes, Jobs: c.Jobs,
		})
	}
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
	ev := log.Info()
	switch {
	case e.Kind == lifecycle.EventStuck:
		ev = log.Error()
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
	ev.Msg("child " + string(e.Kind))
}
