package lane

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
	m.orphanOf = m.claim.Session
	if m.write.open() {
		m.orphanOf = m.want.Session
	}
	m.read, m.write, m.step = request{}, request{}, request{}
	m.Phase = Orphaned
}

// reclaim reads what became of the old claim.
func (m *machine) reclaim() {
	m.Phase = Reclaiming
	m.readRecord()
}

// reclaimRecord gives a claim of the old session back that nobody has stolen.
func (m *machine) reclaimRecord() {
	r := m.record
	if !m.recordOK || r.Session != m.orphanOf || r.State != Running || r.Created != m.v.Created || !m.v.alive() {
		m.giveBack(0)
		return
	}
	if m.fence != 0 && r.Job == m.claim.Job && !r.Dying {
		r.Interrupted++
	}
	seq := r.Seq
	r.State, r.Session = GivenBack, m.v.Session
	m.put(r, seq, m.ttlOf(r))
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
