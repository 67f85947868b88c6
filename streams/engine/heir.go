package engine

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// Held is what an engine has in hand: enough for its successor on the same host to give it back at once, when the
// engine dies and its groups were seen to be empty.
type Held struct {
	Session string
	Lanes   []HeldLane
}

// HeldLane is a lane of which a job runs.
type HeldLane struct {
	// Lane is <queue>.<type>.<id>, encoded as in subjects.
	Lane  string
	Job   uint64
	Fence uint64
	// Turn is the sequence of its turn, Reply the subject on which the turn is answered.
	Turn  uint64
	Reply string
}

// Predecessor is what a former engine of this worker left.
type Predecessor struct {
	Held
	// Crashed says that it died by itself: its jobs count as lost. Else they were interrupted.
	Crashed bool
}

// heldEvery bounds how often Options.OnHeld is called in the long run, heldAtOnce how often in a moment: what starts now
// and then is told as it starts, and where one job follows the other the cost stays bounded. What was started since the
// last call has to wait until the server gives its turn out anew, which is longer than the lease.
const (
	heldEvery  = 20 * time.Millisecond
	heldAtOnce = 10
)

// tellHeld tells what is in hand, when it may have changed. What may not be told yet is told by a later round.
func (e *Engine) tellHeld() {
	if e.opts.OnHeld == nil || !e.heldStale {
		return
	}
	at := time.Time{}.Add(e.at)
	if may := e.heldPace.ReserveN(at, 1); may.DelayFrom(at) > 0 {
		e.soon.Reset(may.DelayFrom(at))
		may.CancelAt(at)
		return
	}
	e.heldStale = false
	held := Held{Session: e.holder.Session().ID}
	e.holder.Each(func(name string, s *lane.State) {
		if !s.Busy() {
			return
		}
		d, _ := s.Turn.Token.(delivery)
		held.Lanes = append(held.Lanes, HeldLane{Lane: name, Job: s.Job(), Fence: s.Fence(), Turn: s.Turn.Seq, Reply: d.reply})
	})
	e.opts.OnHeld(held)
}

// sessionBegun: a successor has to know of the session although nothing is in hand yet, or it would take it for that of
// another worker with the same id, which lives.
func (e *Engine) sessionBegun() {
	if !e.inheriting {
		e.heldStale = true
	}
}

// saidGoodbye: an older session than the present one is over for everybody.
func (e *Engine) saidGoodbye(bool) { e.inheriting, e.heldStale = false, true }

// inherit has the holder give back what a predecessor left. A predecessor without a record, or with a final one, left
// nothing that anybody waits for.
func (e *Engine) inherit(ctx context.Context, kv jetstream.KeyValue) error {
	p := e.opts.Predecessor
	if p == nil || p.Session == "" {
		return nil
	}
	entry, err := kv.Get(ctx, p.Session)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r, err := streams.DecodeSession(entry.Value()); err == nil && r.Final() {
		return nil // over already
	}
	var lanes []lane.Adopted
	for _, l := range p.Lanes {
		lanes = append(lanes, lane.Adopted{
			Lane: l.Lane, Job: l.Job, Fence: l.Fence, Turn: lane.Turn{Seq: l.Turn, Token: delivery{reply: l.Reply}},
		})
	}
	e.inheriting = true
	e.holder.Adopt(lane.Farewell{Session: p.Session, Expect: entry.Revision()}, lanes, p.Crashed)
	e.opts.Log.Info().Str("session", p.Session).Int("jobs", len(lanes)).Bool("crashed", p.Crashed).
		Msg("giving back what the former engine of this worker held")
	return nil
}
