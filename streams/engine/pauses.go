package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// A paused lane has no turn: whoever gets one ends it, and asks the store afterwards whether the lane still is paused,
// because a watch may be behind. A paused queue keeps its turns, and nobody pulls them. A pause that is learnt late costs
// a start too many, never order.

// watchPauses follows what operators pause in a queue. No turn of it is pulled before it is known what is paused.
func (e *Engine) watchPauses(ctx context.Context, q subjects.Queue) error {
	name := string(q)
	state := e.queues[name]
	e.halt(state)
	watch, err := streams.WatchPaused(ctx, e.js, q, func(c streams.PausedChange) {
		e.in.put(item{do: func() {
			switch {
			case c.Complete:
				state.pausesKnown = true
			case c.Queue:
				state.paused = c.Paused
			case c.Key != "":
				e.limitSeen(q, c)
				return
			default:
				e.pauseChanged(q, c, state.pausesKnown)
				return
			}
			e.halt(state)
			if state.pausesKnown {
				e.opts.Log.Info().Str("queue", name).Bool("paused", state.paused).Int("paused_lanes", e.holder.Paused(name)).Msg("pauses are known")
			}
		}})
	})
	if err != nil {
		return fmt.Errorf("watch the pauses of %s: %w", q, err)
	}
	state.pauses = watch
	e.tasks.Add(1)
	go func() {
		defer e.tasks.Done()
		<-ctx.Done()
		watch.Stop()
	}()
	return nil
}

// halt has no turns of a queue pulled while there is a reason.
func (e *Engine) halt(q *queueState) {
	e.holder.PauseQueue(string(q.name), q.paused || !q.pausesKnown || q.newer)
}

// pauseChanged: a lane is paused, or is no more. A pause that ended by itself leaves a lane without a turn; a turn
// published twice is refused once.
func (e *Engine) pauseChanged(q subjects.Queue, c streams.PausedChange, complete bool) {
	name := string(q) + "." + c.Entity.Token()
	e.holder.Pause(name, c.Paused)
	e.opts.Log.Debug().Str("queue", string(q)).Stringer("entity", c.Entity).Bool("paused", c.Paused).Msg("the pause of a lane is known")
	if !c.Paused && complete && e.stopping == nil {
		e.holder.Visit(name, lane.Visit{Publish: true})
	}
}

// readPause asks the leader whether a lane is paused, for the record that was just read: the lane has been ended, and
// is left without a turn only if that is still so.
func (e *Engine) readPause(a ask, ev lane.RecordRead) {
	queue, token, _ := strings.Cut(a.lane, ".")
	q := subjects.Queue(queue)
	entity, err := subjects.ParseLane(token)
	if err != nil {
		e.holder.Lane(a.lane, ev) // nobody can have paused it
		return
	}
	a.kind, a.record = askPause, &ev
	e.wire.send(a, e.api+"STREAM.MSG.GET.KV_"+q.LanesBucket(), nil,
		[]byte(`{"last_by_subj":`+quote("$KV."+q.LanesBucket()+"."+entity.Key())+`}`))
}

func (e *Engine) pauseAnswered(a ask, m *nats.Msg) {
	_, header, _, found, ok := readStored(m)
	if !ok {
		e.holder.Lane(a.lane, lane.Failed{Op: a.op})
		return
	}
	a.record.Paused = found && !streams.KeyGone(subjects.Header(header))
	e.holder.Lane(a.lane, *a.record)
}
