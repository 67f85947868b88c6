package lane

import (
	"slices"
	"time"
)

// examine finds out why a claim was refused, or would be: the record first, and only after its answer the head. The
// other way round a head that was finished and released in between would look as if it waited.
func (m *machine) examine() {
	m.Phase = Examining
	m.claimed = false
	m.read = request{}
	if m.v.Broken.Off(RuleRecordFirst) {
		m.readHead()
		return
	}
	m.readRecord()
}

// headRead: a head read came back.
func (m *machine) headRead() {
	switch m.Phase {
	case Opening:
		m.haveHead()
	case Examining:
		if m.v.Broken.Off(RuleRecordFirst) {
			m.readRecord()
			return
		}
		if m.v.Replicated && m.abandoned() && !m.late && !m.goneBy() {
			m.headLater()
			return
		}
		m.decide()
	case Looking:
		m.lookHead()
	}
}

// recordRead: a record read came back.
func (m *machine) recordRead(paused bool) {
	switch m.Phase {
	case Examining:
		m.over = m.recordOK && m.record.active() && m.v.Dead(m.record.Session)
		reuse := m.v.Broken.Off(RuleHeadRead) && m.headOK
		if m.v.Broken.Off(RuleRecordFirst) || reuse {
			m.decide()
			return
		}
		m.late = false
		m.readHead()
	case Looking:
		m.lookRecord(paused)
	case Reclaiming:
		m.reclaimRecord()
	}
}

// abandoned says that the record is a running claim that may be replaced although nobody has released it. Then only the
// head tells whether its job was finished, and a head from the past would start it once more.
func (m *machine) abandoned() bool {
	return m.over || m.recordOK && m.record.active() && m.record.Session == m.v.Session
}

// goneBy says that the head shows the record's job to be gone. That is so, however far from the past the read came.
func (m *machine) goneBy() bool {
	return !m.head.Found || m.record.Created == m.v.Created && m.head.Seq > m.record.Job
}

// headLater reads the head once more when even a leader that has just changed shows everything that happened before now.
func (m *machine) headLater() {
	m.late = true
	m.headOK = false
	m.readsRecord = false
	m.ask(&m.read)
	m.read.again = m.v.Now + m.v.ReadLag
}

// decide acts on the table.
func (m *machine) decide() {
	if !m.recordOK {
		// It expired or was swept: nobody has the lane.
		m.record = Record{}
		if !m.head.Found {
			m.end()
			return
		}
		m.claimHead(Record{Job: m.head.Seq}, 0)
		return
	}
	r := m.record
	switch verdict(r, m.head, m.v, m.over) {
	case Fresh:
		m.claimHead(Record{Job: m.head.Seq}, r.Seq)
	case Again:
		m.claimHead(Record{
			Job: r.Job, Counts: r.Counts, Stolen: r.Stolen, Dying: r.Dying, Passing: r.Passing,
			Attempt: r.Attempt, Error: r.Error, Cause: r.Cause, Tries: r.Tries, NotBefore: r.NotBefore, Absolved: r.Absolved,
		}, r.Seq)
	case Steal:
		m.claimHead(m.stolen(r), r.Seq)
	case Busy, Stale:
		m.giveBack(m.busyDelay())
	case NotDue:
		m.giveBack(max(r.Due(m.v.ServerNow), time.Millisecond))
	case Empty:
		m.claim = r
		m.claimed = r.Session == m.v.Session
		m.endEmpty()
	case Stands:
		m.end()
	}
}

// endEmpty ends the turn of a lane without jobs. A stolen claim of one's own is released first: it would keep the lane
// busy for as long as its session lives, because it is not released by its job's absence.
func (m *machine) endEmpty() {
	if m.claimed && m.claim.Stolen && m.claim.State == Running {
		m.Phase = Marking
		m.mark()
		return
	}
	m.end()
}

// stolen is the claim on a dead session's job: the loss is counted in the very write that steals, or a job that takes
// its holders down would never be found out.
func (m *machine) stolen(r Record) Record {
	s := Record{
		Job: r.Job, Counts: r.Counts, Dying: r.Dying, Passing: r.Passing, Attempt: r.Attempt,
		Stolen: !m.v.Broken.Off(RuleStolenMark), Error: r.Error, Cause: r.Cause, Tries: r.Tries, NotBefore: r.NotBefore, Absolved: r.Absolved,
	}
	if r.State == Held || r.moving() || m.v.Broken.Off(RuleStealCount) {
		return s
	}
	m.lose(&s, r)
	return s
}

// claimHead claims the head that was just read, unless there is no use in it. A claim of one's own that was left over is
// given back in that case.
func (m *machine) claimHead(r Record, expect uint64) {
	switch {
	case m.stop || m.v.Draining:
		m.release(0)
	case m.head.Unserved && !r.moving():
		m.release(m.unservedDelay())
	default:
		m.claimFor(r, expect)
	}
}

// unservedDelay: another workerd may serve the kind; until one is started this one asks ever more seldom.
func (m *machine) unservedDelay() time.Duration {
	return spread(min(100*time.Millisecond<<min(max(m.Turn.Delivered-1, 0), 10), 5*time.Second), m.v)
}

// haveHead: the head is known while opening; the claim may still be on its way.
func (m *machine) haveHead() {
	if m.write.open() {
		return
	}
	if !m.head.Found {
		m.endEmpty()
		return
	}
	if !m.claimed {
		m.examine()
		return
	}
	if m.jobs > 0 && m.head.Seq <= m.claim.Job {
		// A job whose delete was confirmed: a read of the past. The look comes after the end.
		m.end()
		return
	}
	m.haveClaim()
}

// haveClaim: a claim of ours stands; start when the head is known, fresh and the one that it names.
func (m *machine) haveClaim() {
	if m.cut || m.read.open() && m.Phase == Opening {
		return
	}
	if !m.headOK || m.v.Now-m.headAt > m.v.Window && !m.v.Broken.Off(RuleHeadRead) {
		m.Phase = Opening
		m.readHead()
		return
	}
	switch {
	case !m.head.Found:
		m.endEmpty()
		return
	case m.stop || m.v.Draining:
		m.park(GivenBack, afterNak, 0)
		return
	case m.head.Seq != m.claim.Job:
		m.Phase = Opening
		m.claimFor(Record{Job: m.head.Seq}, m.claim.Seq)
		return
	case !m.v.alive():
		return // SessionOver follows
	case m.claimTTL != 0 && m.v.Now >= m.claimAt+m.claimTTL/2:
		// The answers took so long that the claim would expire soon, or has.
		m.claimFor(m.claim, m.claim.Seq)
		return
	case m.claim.moving():
		m.move()
		return
	case m.head.Invalid != "":
		m.claim.Error, m.claim.Cause = m.head.Invalid, "invalid"
		m.claim.Attempt = m.claim.Counts.starts() // it is not started
		m.die()
		return
	case m.tooOftenLost():
		m.dieLost()
		return
	case slices.Contains(m.cancels, m.head.Seq):
		m.skip()
		return
	case m.v.Paused:
		m.park(GivenBack, afterEnd, 0)
		return
	case m.v.Suspect && m.suspected(m.v):
		m.park(GivenBack, afterNak, m.unservedDelay())
		return
	case m.head.Unserved:
		m.park(GivenBack, afterNak, m.unservedDelay())
		return
	}
	if m.permitted() {
		m.start()
	}
}

func (m *machine) start() {
	m.Phase = InRun
	m.fence = m.claim.Seq
	m.outcome, m.ended, m.cancelled = Outcome{}, false, false
	m.do(Start{
		Head: m.head, Fence: m.fence, Attempt: m.claim.Attempt + m.brought().starts(), Counts: m.total(),
	})
}
