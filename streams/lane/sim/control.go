package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// startOperators plans what operators do. What they began they finish when the faults have stopped.
func (w *world) startOperators() {
	w.plan(w.p.PauseLaneEvery, w.pauseLane)
	w.plan(w.p.CancelEvery, w.cancel)
	if w.p.ReleaseEvery > 0 {
		var again func()
		again = func() { w.releaseHalted(); w.in(w.around(w.p.ReleaseEvery), again) }
		w.in(w.around(w.p.ReleaseEvery), again)
	}
}

// pauseLane pauses a lane, or resumes it. Holders hear of it a little later, and those who are cut off after that.
func (w *world) pauseLane() {
	e := w.lanes[w.rng.IntN(len(w.lanes))]
	if w.server.down {
		return
	}
	if e.paused {
		w.resume(e)
		return
	}
	e.paused, e.pausedAt = true, w.now
	w.note(e, "LANES", "paused")
	w.showPause(e)
}

// resume lets a lane go on: the pause goes first, then a turn is published.
func (w *world) resume(e *entity) {
	e.paused, e.stillAt = false, w.now
	w.note(e, "LANES", "resumed")
	w.showPause(e)
	w.in(w.upTo(20*time.Millisecond), func() { w.giveTurn(e) })
}

// giveTurn publishes a turn as an operator's command does: until the server has it.
func (w *world) giveTurn(e *entity) {
	if w.server.down || w.now < w.server.leaderlessTo {
		w.in(200*time.Millisecond, func() { w.giveTurn(e) })
		return
	}
	if len(e.jobs) > 0 {
		w.turns.publish(e, 0, "operator")
	}
}

// showPause tells the holders. The watch brings what stands by then, and is made anew after a cut.
func (w *world) showPause(e *entity) {
	for _, n := range w.nodes {
		gen := n.gen
		at := w.now + w.upTo(20*time.Millisecond)
		if w.chance(w.p.WatchSlow) {
			at += w.upTo(w.p.WatchSlowMax)
		}
		if n.cutOff() {
			at = max(at, n.cutUntil)
		}
		w.at(at, func() { n.post(gen, func() { n.h.Pause(e.name, e.paused) }) })
	}
}

// learnPauses is what a new life knows before it takes its first turn.
func (n *node) learnPauses() {
	for _, e := range n.w.lanes {
		n.h.Pause(e.name, e.paused)
	}
}

// pauseSlack is how long after a pause a job may still be started by a holder that has not heard of it.
const pauseSlack = 10 * time.Second

// checkPaused is what must hold when a job starts: holders that had time to hear of the pause start nothing.
func (w *world) checkPaused(p *process) {
	e := p.lane
	heard := max(e.pausedAt, p.n.cutUntil, p.n.jamUntil, p.n.pausedUntil, p.n.bornAt)
	if e.paused && w.now-heard > pauseSlack+w.p.WatchSlowMax+w.p.SlowMax {
		w.violate(e, "paused: job %d starts on %s, the lane is paused since %v", p.job.seq, p.n.name(), e.pausedAt)
	}
}

// cancel asks every holder to end one of the first jobs of a lane.
func (w *world) cancel() {
	e := w.lanes[w.rng.IntN(len(w.lanes))]
	if len(e.jobs) == 0 {
		return
	}
	j := e.jobs[w.rng.IntN(min(3, len(e.jobs)))]
	j.cancelled = true
	w.note(e, "operator", "cancels job %d", j.seq)
	for _, n := range w.nodes {
		gen := n.gen
		if at, ok := w.route(n); ok {
			w.at(at, func() { n.post(gen, func() { n.h.Cancel(e.name, []uint64{j.seq}) }) })
		}
	}
}

// releaseHalted takes a halted lane by compare-and-set, as the command does, and has its job tried again or given up.
func (w *world) releaseHalted() {
	if w.server.down || w.now < w.server.claimsAwayTo {
		return
	}
	for _, e := range w.lanes {
		c := w.current(e)
		if c.seq == 0 || c.record.State != lane.Halted || len(e.jobs) == 0 || e.jobs[0].seq != c.record.Job {
			continue
		}
		r := c.record
		r.State, r.Session = lane.GivenBack, "operator"
		if w.calm || w.chance(.5) {
			r.Dying = true
		} else {
			r.Counts, r.Absolved = lane.Counts{}, true
			e.jobs[0].starts = 0 // an operator wants it tried again
		}
		w.writeID++
		w.storeClaim(e, w.writeID, lane.WriteClaim{Record: r, Expect: c.seq})
		e.stillAt = w.now
		w.giveTurn(e)
		return
	}
}

// moveLater stores a job in the schedule, unless the id of the move was used within the window. When it is due it is
// published at the end of its lane.
func (s *server) moveLater(e *entity, j *job, r lane.Record) {
	w := s.w
	if j.movedBefore(w, r.Attempt) {
		return
	}
	if j.passed > 0 && w.now-j.passedAt < moveWindow {
		w.violate(e, "job %d is in the schedule twice", j.seq)
	}
	j.passed, j.passedAt = j.passed+1, w.now
	w.note(e, "SCHEDULE", "job %d, attempt %d, due in %v: %s", j.seq, r.Attempt, r.Due(w.wall()), describe(r))
	counts := r.Counts
	w.waiting++
	w.in(max(r.Due(w.wall()), 0), func() { w.due(e, j.kind, counts) })
}

// due moves a job from the schedule to its lane, as soon as the server takes it.
func (w *world) due(e *entity, k kind, counts lane.Counts) {
	if w.server.down || w.now < w.server.leaderlessTo {
		w.in(200*time.Millisecond, func() { w.due(e, k, counts) })
		return
	}
	w.waiting--
	j := w.publishOn(e, false)
	j.kind, j.counts = k, counts
}
