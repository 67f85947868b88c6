package lane

import "time"

// sessionOver: the holder may not believe in its session any more. What runs is killed, nothing is written and no
// delete leaves until a new session stands.
func (m *machine) sessionOver() {
	switch m.Phase {
	case Opening, Examining:
		if m.claimed || m.write.open() {
			m.orphan()
			return
		}
		m.giveBack(0)
	case InRun:
		if m.v.Broken.Off(RuleKillAtEnd) {
			return
		}
		m.cut = true
		m.Phase = Killing
		m.do(Kill{Fence: m.fence, Now: true})
	case Killing:
		m.cut = true
		m.do(Kill{Fence: m.fence, Now: true})
	case Stuck:
		// Killing did not help, and nothing may be given back: now the lease decides, without a farewell.
		m.do(Kill{Fence: m.fence, Now: true})
		m.drop()
	case Moving, Settling, Parking:
		m.orphan()
	case Marking:
		// The job is gone; the old session's death releases the claim.
		m.end()
	case Reclaiming:
		m.Phase = Orphaned
		m.read, m.write = request{}, request{}
	}
}

// orphan waits for a new session. It is entered only when the lane's group is empty, or was never started.
func (m *machine) orphan() {
	m.free()
	m.cut = true
	m.delay = 0
	m.orphanOf = m.claim.Session
	if m.write.open() {
		m.orphanOf = m.want.Session
	}
	m.read, m.write, m.step = request{}, request{}, request{}
	m.Phase = Orphaned
}

// release gives the turn back, but first the claim, if the record still is its own session's: a claim that runs in a
// session that lives, and under which nothing runs, would keep the lane for as long as the session lives.
func (m *machine) release(delay time.Duration) {
	m.free()
	m.read, m.write, m.step = request{}, request{}, request{}
	m.delay, m.orphanOf = delay, m.v.Session
	m.reclaim()
}

// reclaim reads what became of the old claim.
func (m *machine) reclaim() {
	m.Phase = Reclaiming
	m.readRecord()
}

// reclaimRecord gives a claim back that nobody has stolen.
func (m *machine) reclaimRecord() {
	r, found := m.record, m.recordOK
	if !found && m.unsure != 0 && m.unsure == m.claim.Job && !m.claim.moving() {
		// It expired. Nobody has the lane yet, and the deletes that are on their way need the mark all the more.
		r, found = m.claim, true
		r.Seq, r.State, r.Session = 0, Running, m.orphanOf
	}
	if !found || r.Session != m.orphanOf || r.State != Running || r.Created != m.v.Created {
		m.giveBack(m.delay)
		return
	}
	if !m.v.alive() {
		return // SessionOver follows
	}
	seq, started := r.Seq, m.fence != 0 && r.Job == m.claim.Job && !r.moving()
	switch {
	case m.adopted:
		m.bequeathed(&r)
	case started && m.ended && m.outcome.Cause != CauseInterrupted:
		// How the run ended is known, and nobody has the claim: take it over and settle as usual.
		if m.unsure == r.Job {
			// Deletes of it are on their way, and may take it from whoever should steal the claim from here.
			r.Stolen = !m.v.Broken.Off(RuleStolenMark)
		}
	case started:
		r.Interrupted++
		r.State = GivenBack
	default:
		r.State = GivenBack
	}
	r.Session, r.Worker = m.v.Session, m.v.Worker
	m.put(r, seq, m.ttlOf(r))
}

// reclaimed: the old claim is given back, or taken over to finish what was begun.
func (m *machine) reclaimed() {
	if m.claim.State != Running {
		m.giveBack(m.delay)
		return
	}
	m.cut, m.dropped = false, false
	m.settle()
}

// stopping hands the lane back, as soon as nothing of it runs.
func (m *machine) stopping() {
	if m.stop {
		if m.Phase == InRun || m.Phase == Killing {
			m.do(Kill{Fence: m.fence, Now: true}) // asked twice: at once
		}
		return
	}
	m.stop = true
	switch m.Phase {
	case Opening, Examining:
		switch {
		case m.write.open():
			// The answer decides what has to be given back.
		case m.claimed:
			m.read = request{}
			m.park(GivenBack, afterNak, 0)
		default:
			m.giveBack(0)
		}
	case InRun:
		m.Phase = Killing
		m.do(Kill{Fence: m.fence})
		if m.v.Broken.Off(RuleEmptyGroup) {
			m.outcome = Outcome{Cause: CauseInterrupted}
			m.settle()
		}
	}
}
