package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

type turnState uint8

const (
	waiting turnState = iota // for a pull
	pending                  // delivered, unanswered
	delayed                  // by a NAK
)

// turn is the one message of a lane in TURNS.
type turn struct {
	e         *entity
	seq       uint64
	guess     uint64
	state     turnState
	delivered int
	at        time.Duration // of the last delivery
	timer     int           // grows when a planned timer means nothing any more
	gone      bool
}

// pull is a waiting request for turns. It swallows deliveries when its holder is gone.
type pull struct {
	n       *node
	gen     int
	op      lane.Op
	left    int
	expires time.Duration
}

// turns is TURNS with its consumer.
type turns struct {
	w           *world
	seq         uint64
	redelivered []*turn
	fresh       []*turn
	pulls       []*pull
}

// publish stores a turn, unless the lane has one.
func (t *turns) publish(e *entity, guess uint64, who string) {
	if e.turn != nil {
		t.w.note(e, "TURNS", "%s for %d refused: turn %d is there", who, guess, e.turn.seq)
		return
	}
	t.seq++
	e.turn = &turn{e: e, seq: t.seq, guess: guess}
	t.w.note(e, "TURNS", "turn %d (%s for %d)", t.seq, who, guess)
	t.fresh = append(t.fresh, e.turn)
	t.pump()
}

// pull adds a request.
func (t *turns) pull(n *node, p lane.Pull) {
	t.pulls = append(t.pulls, &pull{n: n, gen: n.gen, op: p.Op, left: p.N, expires: t.w.now + pullExpiry})
	t.pump()
}

// pullExpiry is how long a pull waits at the server.
const pullExpiry = 2 * time.Second

// pump hands turns to pulls, redelivered ones first.
func (t *turns) pump() {
	if t.w.server.down {
		return
	}
	for {
		for len(t.pulls) > 0 && (t.pulls[0].left == 0 || t.pulls[0].expires <= t.w.now) {
			t.pulls = t.pulls[1:]
		}
		if len(t.pulls) == 0 {
			return
		}
		list := &t.redelivered
		if !drain(list) {
			list = &t.fresh
			if !drain(list) {
				return
			}
		}
		next := (*list)[0]
		*list = (*list)[1:]
		t.deliver(next, t.pulls[0])
		if t.pulls[0].left > 0 && t.w.chance(.5) {
			// Several holders wait: the server goes round.
			t.pulls = append(t.pulls[1:], t.pulls[0])
		}
	}
}

// drain drops what is not waiting any more from the front, and says whether something is left.
func drain(list *[]*turn) bool {
	for len(*list) > 0 && ((*list)[0].gone || (*list)[0].state != waiting) {
		*list = (*list)[1:]
	}
	return len(*list) > 0
}

func (t *turns) deliver(m *turn, p *pull) {
	w := t.w
	p.left--
	m.state, m.at = pending, w.now
	m.delivered++
	t.plan(m, w.p.Config.Lease)
	d := lane.Turn{Seq: m.seq, Delivered: m.delivered, Guess: m.guess}
	w.note(m.e, "TURNS", "turn %d to h%d, delivery %d", m.seq, p.n.idx, m.delivered)
	rest := 0
	for _, o := range [2][]*turn{t.redelivered, t.fresh} {
		rest += len(o)
	}
	if at, ok := w.route(p.n); ok {
		epoch := w.server.epoch
		w.at(at, func() {
			if epoch == w.server.epoch {
				p.n.post(p.gen, func() { p.n.h.Delivered(m.e.name, d, p.op, rest) })
			}
		})
	}
}

// plan sets the timer after which the turn waits for a pull again.
func (t *turns) plan(m *turn, d time.Duration) {
	m.timer++
	timer := m.timer
	t.w.in(d, func() { t.due(m, timer) })
}

func (t *turns) due(m *turn, timer int) {
	if m.gone || m.timer != timer {
		return
	}
	if t.w.server.down {
		t.w.at(t.w.server.upAt, func() { t.due(m, timer) })
		return
	}
	m.state = waiting
	t.redelivered = append(t.redelivered, m)
	t.pump()
}

// ack removes a turn, whoever asks: nothing but the sequence is checked.
func (t *turns) ack(e *entity, seq uint64) {
	if e.turn != nil && e.turn.seq == seq {
		t.w.note(e, "TURNS", "turn %d ended", seq)
		e.turn.gone = true
		e.turn = nil
	}
}

// nak gives a delivered turn back after a delay, whoever asks.
func (t *turns) nak(e *entity, seq uint64, delay time.Duration) {
	m := e.turn
	if m == nil || m.seq != seq || m.state == waiting {
		return
	}
	t.w.note(e, "TURNS", "turn %d given back for %v", seq, delay)
	m.state = delayed
	if delay > 0 {
		t.plan(m, delay)
		return
	}
	m.timer++
	t.due(m, m.timer)
}

// progress is +WPI.
func (t *turns) progress(e *entity, seq uint64) {
	if m := e.turn; m != nil && m.seq == seq && m.state == pending {
		t.plan(m, t.w.p.Config.Lease)
	}
}

// forget makes turns come back that somebody holds: the latest, or all.
func (t *turns) forget(all bool) {
	t.pulls = nil
	for _, e := range t.w.lanes {
		m := e.turn
		if m == nil || m.state != pending || !all && t.w.now-m.at > 100*time.Millisecond {
			continue
		}
		m.timer++
		m.state, m.delivered = waiting, 0
		t.fresh = append(t.fresh, m)
		t.w.note(e, "TURNS", "the delivery of turn %d is forgotten", m.seq)
	}
}

// purge removes some lane's turn behind everybody's back.
func (t *turns) purge() {
	e := t.w.lanes[t.w.rng.IntN(len(t.w.lanes))]
	if e.turn != nil {
		t.w.note(e, "TURNS", "turn %d purged", e.turn.seq)
		e.turn.gone = true
		e.turn = nil
	}
}
