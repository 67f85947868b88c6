package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// workers is the bucket of session records, and the numbers of CLAIMS.
type workers struct {
	claimSeq uint64
	writeID  uint64
	seq      uint64
	records  []*record
	byID     map[string]*record
}

// record is one session's.
type record struct {
	id      string
	seq     uint64 // 0: expired
	final   bool
	expires time.Duration
	lastOp  lane.Op // the last write of its owner, known by its message id
	lastSeq uint64
}

func (r *record) sighting(w *world) lane.Sighting {
	return lane.Sighting{Session: r.id, Seq: r.seq, Lease: w.p.Config.Lease, Final: r.final}
}

func (b *workers) init() { b.byID = map[string]*record{} }

func (b *workers) find(id string) *record {
	r := b.byID[id]
	if r == nil {
		r = &record{id: id}
		b.byID[id] = r
		b.records = append(b.records, r)
	}
	return r
}

// writeSession is an owner's own write: the sequence, or 0 when another record stands.
func (w *world) writeSession(a lane.WriteSession) uint64 {
	r := w.find(a.ID)
	if r.seq != a.Expect {
		if r.seq != 0 && r.seq == r.lastSeq && r.lastOp == a.Op {
			return r.seq // the holder reads the record and finds its own write
		}
		w.note(nil, "WORKER", "%s refused: expects %d, there is %d", a.ID, a.Expect, r.seq)
		return 0
	}
	if a.Expect == 0 {
		w.stats.Sessions++
	}
	w.store(r, false)
	r.lastOp, r.lastSeq = a.Op, r.seq
	return r.seq
}

// endSession stores a farewell, or somebody's `dead`.
func (w *world) endSession(id string, expect uint64, why string) {
	r := w.find(id)
	if r.seq != expect {
		w.note(nil, "WORKER", "%s of %s refused: expects %d, there is %d", why, id, expect, r.seq)
		return
	}
	w.note(nil, "WORKER", "%s of %s", why, id)
	w.store(r, true)
	if why == dead {
		w.stats.Declared++
		w.sweepSoon("a worker was lost")
	}
}

const (
	farewell = "farewell"
	dead     = "dead"
)

// store writes the record and shows it to every watch.
func (w *world) store(r *record, final bool) {
	w.workers.seq++
	r.seq, r.final = w.workers.seq, final
	r.expires = w.now + 10*w.p.Config.Lease
	for _, n := range w.nodes {
		w.show(n, r.sighting(w))
	}
}

// show brings a sighting to one holder's watch.
func (w *world) show(n *node, s lane.Sighting) {
	delay := w.upTo(2 * time.Millisecond)
	if w.chance(w.p.WatchSlow) {
		delay += w.upTo(w.p.WatchSlowMax)
	}
	if n.cutOff() {
		// The watch is made anew after the cut and shows what stands then.
		return
	}
	gen := n.gen
	w.in(delay, func() { n.post(gen, func() { n.h.See(s) }) })
}

// showAll is what a fresh watch brings first.
func (w *world) showAll(n *node) {
	for _, r := range w.records {
		if r.seq != 0 {
			w.show(n, r.sighting(w))
		}
	}
}

// expireSessions drops records that nobody rewrote for ten leases.
func (w *world) expireSessions() {
	kept := w.records[:0]
	for _, r := range w.records {
		if r.seq == 0 || w.now < r.expires {
			kept = append(kept, r)
			continue
		}
		r.seq = 0
		for _, n := range w.nodes {
			gen := n.gen
			w.in(w.upTo(time.Second), func() { n.post(gen, func() { n.h.Forget(r.id) }) })
		}
		delete(w.byID, r.id)
	}
	w.records = kept
}
