package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// claim is a lane's last record in CLAIMS, with the message ids that were used lately.
type claim struct {
	record  lane.Record
	seq     uint64 // 0: none
	expires time.Duration
	ids     []claimID
}

type claimID struct {
	session string
	op      lane.Op
	seq     uint64
	at      time.Duration
}

// claimWindow is the duplicate window of CLAIMS.
const claimWindow = 20 * time.Second

// current is the lane's record; an expired one is none.
func (w *world) current(e *entity) *claim {
	c := &e.claim
	if c.seq != 0 && c.expires != 0 && w.now >= c.expires {
		w.note(e, "CLAIMS", "claim %d expired", c.seq)
		c.seq, c.record = 0, lane.Record{}
	}
	return c
}

// writeClaim is the compare-and-set. It returns the sequence, or 0 when another record stands.
func (w *world) writeClaim(e *entity, session string, a lane.WriteClaim) uint64 {
	c := w.current(e)
	for len(c.ids) > 0 && w.now-c.ids[0].at >= claimWindow {
		c.ids = c.ids[1:]
	}
	for _, id := range c.ids {
		if id.session == session && id.op == a.Op {
			w.note(e, "CLAIMS", "write %d of %s is a duplicate of %d", a.Op, session, id.seq)
			return id.seq
		}
	}
	if c.seq != a.Expect && !a.Any {
		w.note(e, "CLAIMS", "write %d of %s refused: expects %d, there is %d", a.Op, session, a.Expect, c.seq)
		return 0
	}
	w.claimSeq++
	w.checkClaim(e, c, a)
	c.seq, c.record, c.expires = w.claimSeq, a.Record, 0
	c.record.Seq = c.seq
	if a.TTL > 0 {
		c.expires = w.now + a.TTL + w.upTo(170*time.Millisecond)
	}
	c.ids = append(c.ids, claimID{session, a.Op, c.seq, w.now})
	w.note(e, "CLAIMS", "claim %d: %s", c.seq, describe(a.Record))
	return c.seq
}
