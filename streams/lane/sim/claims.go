package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// claim is a lane's last record in CLAIMS.
type claim struct {
	record  lane.Record
	seq     uint64 // 0: none
	write   uint64 // the id that its writer gave it
	expires time.Duration
}

// current is the lane's record; an expired one is none.
func (w *world) current(e *entity) *claim {
	c := &e.claim
	if c.seq != 0 && c.expires != 0 && w.now >= c.expires {
		w.note(e, "CLAIMS", "claim %d expired", c.seq)
		*c = claim{}
	}
	return c
}

// storeClaim is the compare-and-set. It returns the sequence, or 0 when another record stands. The server looks at what
// is expected before it looks for duplicates: the second sending of a write that it has stored is refused.
func (w *world) storeClaim(e *entity, write uint64, a lane.WriteClaim) uint64 {
	c := w.current(e)
	if c.seq != a.Expect && !a.Any {
		w.note(e, "CLAIMS", "write %d of %s refused: expects %d, there is %d", a.Op, a.Record.Session, a.Expect, c.seq)
		return 0
	}
	w.claimSeq++
	w.checkClaim(c, a)
	*c = claim{record: a.Record, seq: w.claimSeq, write: write}
	c.record.Seq = c.seq
	if a.TTL > 0 {
		c.expires = w.now + a.TTL + w.upTo(170*time.Millisecond)
	}
	w.note(e, "CLAIMS", "claim %d: %s", c.seq, describe(a.Record))
	return c.seq
}

// write is a claim's compare-and-set on its way.
type write struct {
	id   uint64
	op   lane.Op
	sent int
}

// writeClaim sends a claim. When one that was sent more than once is refused, the record is read to see whether another
// sending is what stands.
func (n *node) writeClaim(e *entity, a lane.WriteClaim, ask func(lane.Op, func() any)) {
	w := n.w
	s := n.writes[e.name]
	if s == nil || s.op != a.Op {
		w.writeID++
		s = &write{id: w.writeID, op: a.Op}
		n.writes[e.name] = s
	}
	s.sent++
	ask(a.Op, func() any {
		if w.now < w.server.claimsAwayTo {
			return nil
		}
		if seq := w.storeClaim(e, s.id, a); seq != 0 {
			return lane.Stored{Op: a.Op, Seq: seq}
		}
		return second{e, s, a.Op, ask}
	})
}

// second is an answer that takes another question.
type second struct {
	e   *entity
	s   *write
	op  lane.Op
	ask func(lane.Op, func() any)
}

func (n *node) ours(q second) {
	if q.s.sent == 1 {
		n.h.Lane(q.e.name, lane.Refused{Op: q.op})
		return
	}
	q.ask(q.op, func() any {
		if n.w.now < n.w.server.claimsAwayTo {
			return nil
		}
		if c := n.w.current(q.e); c.seq != 0 && c.write == q.s.id {
			return lane.Stored{Op: q.op, Seq: c.seq}
		}
		return lane.Refused{Op: q.op}
	})
}
