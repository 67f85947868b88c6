package lane

import "time"

// LongestWait is the longest that a failed job waits for its next attempt, whatever it or its queue asks for. The
// server's clock counts to 2262: what is to come after that has been over for long to it, and would come at once.
const LongestWait = 100 * 365 * 24 * time.Hour

// finished: the job's processes are gone, or could not be shown to be.
func (m *machine) finished(o Outcome) {
	if m.cancelled && o.Cause != CauseDone {
		o.Cause, o.Error = CauseCancelled, "cancelled by an operator"
	}
	m.outcome, m.ended = o, true
	switch {
	case o.Stuck:
		// What might still run must keep its lane: nothing is given back, and the claim is kept while the session lives.
		m.free()
		m.remains = true
		m.Phase = Stuck
		if m.cut {
			m.drop() // the session does not live any more: the lease decides
		}
	case m.cut:
		m.orphan()
	case m.dropped:
		m.release(m.busyDelay())
	default:
		m.settle()
	}
}

// settle turns the outcome into what follows: one row of the table of failures each.
func (m *machine) settle() {
	o := m.outcome
	if o.Cause == CauseDone || o.Cause == CauseCancelled {
		if !m.goesOn() {
			m.free()
		}
		m.remove()
		return
	}
	m.free()
	r := &m.claim
	r.Error, r.Cause = o.Error, o.Cause.String()
	switch o.Cause {
	case CauseInterrupted:
		delay := time.Duration(0)
		if o.NotStarted {
			delay = m.unservedDelay()
		} else {
			r.Interrupted++
		}
		m.park(GivenBack, afterNak, delay)
		return
	case CauseCrashed:
		r.Crashes++
	case CauseMemory:
		r.Memory++
	default:
		r.Attempts++
	}
	r.tried(m.ran(o))
	if o.Cause == CauseFatal || m.exhausted(o.Cause) {
		m.die()
		return
	}
	delay := o.RetryIn
	if delay <= 0 {
		delay = m.v.Backoff(m.total().starts())
	}
	delay = min(delay, LongestWait)
	r.NotBefore = m.v.ServerNow.Add(delay).UnixMilli()
	if m.head.Pass.or(m.v.Pass) {
		r.Passing = true
		m.park(Running, afterMove, 0)
		return
	}
	m.park(Waiting, afterNak, delay)
}

// remove deletes the job: the record that it is done, and the release of the claim. Under a claim that is not believed
// in any more nothing is deleted: a holder whose loop stood still for a while looks at its record first.
func (m *machine) remove() {
	if m.claimOver() {
		m.release(0)
		return
	}
	m.enter(Settling)
}

func (m *machine) deleted() {
	m.jobs++
	m.unsure = 0
	m.reportGone()
	if m.claim.Stolen {
		m.Phase = Marking
		m.mark()
		return
	}
	m.nextJob()
}

// mark writes that a stolen job is done: a stolen claim is not released by its job's absence.
func (m *machine) mark() {
	if m.write.open() {
		return
	}
	r := m.claim
	r.State, r.Counts = Done, Counts{}
	m.put(r, m.claim.Seq, m.ttlOf(r))
}

// goesOn says whether this turn may run another job of the lane.
func (m *machine) goesOn() bool {
	if !m.head.More || m.stop || m.v.Draining || m.v.Paused || !m.v.alive() || !m.slot {
		return false
	}
	return !m.v.OthersWait || m.jobs+1 < m.v.SliceJobs && m.v.Now-m.since < m.v.SliceTime
}

// nextJob goes on with the slice, or ends the turn.
func (m *machine) nextJob() {
	// With a rewrite of the claim on its way the next claim would not know what to expect: the next turn does.
	if m.write.open() || !m.slot || !m.claimed || m.stop || m.v.Draining || m.v.Paused || !m.v.alive() {
		m.end()
		return
	}
	m.Phase = Opening
	m.fence = 0
	m.readHead()
}

// park writes a record that leaves the job where it is, and then gives the turn back, or moves the job.
func (m *machine) park(s Standing, then after, delay time.Duration) {
	m.free()
	r := m.claim
	r.State, r.Session, r.Worker = s, m.v.Session, m.v.Worker
	m.parkAs, m.then, m.delay = r, then, delay
	m.Phase = Parking
	if !m.write.open() {
		m.writePark()
	}
}

func (m *machine) writePark() {
	m.put(m.parkAs, m.claim.Seq, m.ttlOf(m.parkAs))
}

func (m *machine) parked() {
	switch m.then {
	case afterMove:
		m.move()
	case afterEnd:
		if m.claim.State == Halted {
			m.report(EndHalted)
		}
		m.end()
	default:
		if m.claim.State == Waiting {
			m.report(EndRetry)
		}
		m.giveBack(m.delay)
	}
}

// giveBack returns the turn for redelivery after a delay.
func (m *machine) giveBack(delay time.Duration) {
	m.free()
	m.delay = delay
	m.read, m.write = request{}, request{}
	if m.Turn.Seq == 0 {
		m.drop()
		return
	}
	m.enter(Returning)
}

// end ends the turn, and looks again only when that is confirmed: a job that came in between found the old turn.
func (m *machine) end() {
	m.free()
	m.read, m.write = request{}, request{}
	if m.Turn.Seq == 0 {
		m.look()
		return
	}
	m.enter(Ending)
	if m.v.Broken.Off(RuleEndConfirmed) {
		m.step = request{}
		m.look()
	}
}

// look sees whether the lane, now without a turn, has work.
func (m *machine) look() {
	if m.v.Broken.Off(RuleLook) && m.Turn.Seq != 0 {
		m.drop()
		return
	}
	m.Phase = Looking
	m.readHead()
}

func (m *machine) lookHead() {
	if !m.head.Found {
		m.drop()
		return
	}
	m.readRecord()
}

// lookRecord passes a lane by that has no turn on purpose.
func (m *machine) lookRecord(paused bool) {
	r := m.record
	halted := m.recordOK && r.State == Halted && r.Job == m.head.Seq && r.Created == m.v.Created
	if paused || halted {
		m.drop()
		return
	}
	m.relay(m.head.Seq)
}

// relay publishes a turn; the refusal because there is one is as good as the success.
func (m *machine) relay(guess uint64) {
	m.head.Seq = guess
	m.enter(Relaying)
}
