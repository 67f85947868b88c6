package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// startUpkeep plans what looks after lanes and sessions, and goes on when the faults have stopped.
func (w *world) startUpkeep() {
	var expire, sweep, still func()
	expire = func() { w.expireSessions(); w.in(2*time.Second, expire) }
	expire()
	sweep = func() { w.sweep("it is time"); w.in(w.p.SweepEvery, sweep) }
	w.in(w.p.SweepEvery/2+w.upTo(w.p.SweepEvery), sweep)
	if w.p.WaitBound > 0 {
		still = func() { w.checkStill(); w.in(500*time.Millisecond, still) }
		still()
	}
}

// someone is a node that can look after others' lanes.
func (w *world) someone() *node {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	if !n.up || n.stopping || w.now < n.pausedUntil {
		return nil
	}
	return n
}

// audit has the job looked at once, if it is still there after a while. The look is redelivered until somebody has done
// it, like any message of a consumer.
func (w *world) audit(j *job) {
	if w.p.Config.Broken.Off(lane.RuleAudit) {
		return
	}
	var look func()
	look = func() {
		if j.gone {
			return
		}
		n := w.someone()
		if n == nil || w.server.down {
			w.in(time.Second, look)
			return
		}
		n.do(func() {
			if n.h.Visit(j.lane.name, lane.Visit{Publish: true, Guess: j.seq}) {
				w.note(j.lane, n.name(), "looks: job %d is still there", j.seq)
				n.visits[j.lane.name] = append(n.visits[j.lane.name], look)
			}
		})
	}
	w.in(w.p.AuditAfter, look)
}

// sweepSoon has every lane looked at shortly.
func (w *world) sweepSoon(why string) {
	w.in(500*time.Millisecond+w.upTo(time.Second), func() { w.sweep(why) })
}

// sweep publishes a turn for every lane that has jobs; the refusal is the check.
func (w *world) sweep(why string) {
	if w.p.Config.Broken.Off(lane.RuleSweep) {
		return
	}
	if w.server.down {
		w.sweepSoon(why)
		return
	}
	n := w.someone()
	if n == nil {
		w.sweepSoon(why)
		return
	}
	w.note(nil, n.name(), "sweeps: %s", why)
	n.do(func() {
		for _, e := range w.lanes {
			if len(e.jobs) > 0 && !e.paused && (e.claim.seq == 0 || e.claim.record.State != lane.Halted) {
				n.h.Visit(e.name, lane.Visit{Publish: true})
			}
		}
	})
}
