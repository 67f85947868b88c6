package engine

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/limits"
	"github.com/seriatim/seriatim/subjects"
)

// gate lets a queue's lanes ask the machine of its limits, and carries out what that machine wants. It belongs to the
// loop.
type gate struct {
	*limits.Machine
	q subjects.Queue
}

func (e *Engine) newGate(q subjects.Queue, bounds map[string]int) *gate {
	dead := func(session string) bool { return e.holder.DeadOrWatched(session) }
	g := &gate{Machine: limits.New(limits.DefaultConfig(), dead, rand.Float64), q: q}
	g.SetLimits(bounds)
	return g
}

// Admit implements lane.Gate.
func (g *gate) Admit(typ, kind string) (time.Duration, bool) {
	return g.Machine.Admit(limits.Names(typ, kind)...)
}

// Acquire implements lane.Gate.
func (g *gate) Acquire(typ, kind string, again bool) (lane.Permit, time.Duration, bool) {
	p, wait, soon := g.Machine.Acquire(again, limits.Names(typ, kind)...)
	if !p.Held() {
		return nil, wait, soon
	}
	return p, 0, false
}

// Release implements lane.Gate.
func (g *gate) Release(p lane.Permit) { g.Machine.Release(p.(limits.Permit)) }

// flushGates sends what the limits' machines want: documents to be read from the leader, or written by compare-and-set.
func (e *Engine) flushGates() {
	for _, q := range e.opts.Queues {
		g := e.queues[string(q)].gate
		for _, a := range g.Actions() {
			bucket := q.LanesBucket()
			switch {
			case a.Write != nil:
				e.wire.send(ask{kind: askLimit, gate: g, limit: a.Write.Op}, e.kv+"$KV."+bucket+"."+limits.Key(a.Write.Name),
					nats.Header{headerExpect: {strconv.FormatUint(a.Write.Expect, 10)}}, a.Write.Doc.Encode())
			case a.Read != nil:
				e.wire.send(ask{kind: askLimitRead, gate: g, limit: a.Read.Op}, e.api+"STREAM.MSG.GET.KV_"+bucket, nil,
					[]byte(`{"last_by_subj":`+quote("$KV."+bucket+"."+limits.Key(a.Read.Name))+`}`))
			}
		}
	}
}

// limitAnswered hands an answer to the machine that asked.
func (e *Engine) limitAnswered(a ask, m *nats.Msg) {
	defer e.holder.Permits(string(a.gate.q))
	if a.kind == askLimitRead {
		seq, header, body, found, ok := readStored(m)
		switch {
		case !ok:
			a.gate.Failed(a.limit)
		case !found:
			a.gate.Missing(a.limit)
		case streams.KeyGone(subjects.Header(header)):
			a.gate.Found(a.limit, seq, nil)
		default:
			a.gate.Found(a.limit, seq, body)
		}
		return
	}
	switch ans, ok := readAnswer(m); {
	case ok && ans.code() == 0:
		a.gate.Stored(a.limit, ans.Seq)
	case ok && ans.refused():
		a.gate.Refused(a.limit)
	default:
		a.gate.Failed(a.limit)
	}
}

// limitSeen is what the watch of the bucket tells.
func (e *Engine) limitSeen(q subjects.Queue, c streams.PausedChange) {
	if name, ok := limits.ParseKey(c.Key); ok {
		e.queues[string(q)].gate.Seen(name, c.Revision, c.Value)
		e.holder.Permits(string(q))
	}
}
