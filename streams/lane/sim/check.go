package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// checkStart is everything that must hold when a job starts.
func (w *world) checkStart(p *process, a lane.Start) {
	e, j := p.lane, p.job
	switch {
	case len(e.running) > 0:
		o := e.running[0]
		w.violate(e, "overlap: job %d starts on %s under fence %d while job %d runs on %s under fence %d",
			j.seq, p.n.name(), p.fence, o.job.seq, o.n.name(), o.fence)
	case len(e.jobs) > 0 && e.jobs[0].seq < j.seq:
		w.violate(e, "order: job %d starts on %s while %d is the head", j.seq, p.n.name(), e.jobs[0].seq)
	case a.Fence <= e.fence:
		w.violate(e, "fence: job %d starts under %d, the last one was %d", j.seq, a.Fence, e.fence)
	case j.confirmed:
		w.violate(e, "twice: job %d starts on %s, its delete was confirmed", j.seq, p.n.name())
	case len(j.letters) > 0:
		w.violate(e, "twice: job %d starts on %s, its dead letter is stored", j.seq, p.n.name())
	case j.passed > 0:
		w.violate(e, "twice: job %d starts on %s, it is in the schedule", j.seq, p.n.name())
	case j.kind == invalid:
		w.violate(e, "job %d starts and cannot be used", j.seq)
	case j.last != nil && j.last.told && j.last.outcome == lane.CauseDone && j.last.stands():
		w.violate(e, "twice: job %d starts on %s, it ended well in a session that stands", j.seq, p.n.name())
	case j.kind == poison && w.p.Config.MaxLost > 0 && j.starts >= w.p.Config.MaxLost+poisonSlack:
		w.violate(e, "poison: job %d starts for the %dth time", j.seq, j.starts+1)
	}
	w.checkPaused(p)
	w.checkSuspects(p, a)
}

// checkSuspects: a worker runs one job at a time that is one loss short of dead, or an innocent one would die of what its
// neighbour does again and again.
func (w *world) checkSuspects(p *process, a lane.Start) {
	p.suspect = w.p.Config.MaxLost > 0 && a.Counts.Lost >= max(1, w.p.Config.MaxLost-1)
	for _, o := range p.n.processes {
		if p.suspect && o.suspect && !o.over && o.gen == p.gen {
			w.violate(p.lane, "suspects: job %d starts on %s beside job %d, and both are one loss short of dead", p.job.seq, p.n.name(), o.job.seq)
		}
	}
}

// poisonSlack is for starts of a poison that its holder did not live to be counted for: interrupted ones, and the first
// when nobody looked at the lane for a claim's life.
const poisonSlack = 3

// stands says that the process's session still is its holder's, and believed in.
func (p *process) stands() bool { return p.n.gen == p.gen && p.n.believes(p.session) }

// checkDelete is what must hold when a job leaves JOBS.
func (w *world) checkDelete(e *entity, j *job) {
	switch {
	case len(j.letters) > 0:
		w.stats.Dead++
	case j.passed > 0:
		w.stats.Passed++
	case j.cancelled:
		w.stats.Cancelled++
	case j.wellEnded:
		w.stats.Done++
	default:
		w.violate(e, "lost: job %d is deleted, it never ended well and has no dead letter", j.seq)
	}
}

// checkLetter is what must hold when a dead letter is stored.
func (w *world) checkLetter(e *entity, j *job, r lane.Record) {
	if n := len(j.letters); n > 0 && w.now-j.letters[n-1] < moveWindow {
		w.violate(e, "job %d has a second dead letter", j.seq)
	}
	if r.Job != j.seq {
		w.violate(e, "the dead letter of job %d tells of job %d", j.seq, r.Job)
	}
}

// confirmed notes that a holder saw a delete confirmed.
func (w *world) confirmed(e *entity, seq uint64) {
	for _, j := range e.past {
		if j.seq == seq {
			j.confirmed = true
		}
	}
}

// checkClaim counts what claims tell.
func (w *world) checkClaim(c *claim, a lane.WriteClaim) {
	if a.Record.State == lane.Halted {
		w.stats.Halted++
	}
	if c.seq == 0 || c.record.Job != a.Record.Job {
		return
	}
	if a.Record.Lost > c.record.Lost {
		w.stats.Steals++
	}
	if a.Record.Interrupted > c.record.Interrupted {
		w.stats.Reclaimed++
	}
}

// checkStill finds lanes with work that nobody works on.
func (w *world) checkStill() {
	for _, e := range w.lanes {
		if len(e.jobs) > 0 && len(e.running) == 0 && !e.paused && w.now-e.stillAt > w.p.WaitBound {
			w.violate(e, "left behind: job %d has waited since %v and nobody runs the lane", e.jobs[0].seq, e.stillAt)
		}
	}
}

// checkEnd finds lanes that were left behind.
func (w *world) checkEnd() {
	for _, e := range w.lanes {
		if len(e.jobs) > 0 {
			w.violate(e, "left behind: job %d is still there %v after the faults have stopped", e.jobs[0].seq,
				w.p.Bound.Round(time.Second))
		}
	}
}
