package lane

import "time"

// machine is one step of one lane: the state, what it may know, and the actions gathered so far.
type machine struct {
	State
	v   *View
	out []Action
}

// Next is the lane's machine: what state s becomes by event e, and what is to be done. The actions are appended to out.
// It is pure; v is read only.
func Next(s State, e Event, v *View, out []Action) (State, []Action) {
	m := machine{State: s, v: v, out: out}
	m.on(e)
	return m.State, m.out
}

// on sorts the events: those that mean the same in every phase first.
func (m *machine) on(e Event) {
	switch e := e.(type) {
	case Delivered:
		m.delivered(e.Turn)
	case Visit:
		m.visit(e)
	case adopted:
		if m.Phase == Idle {
			m.adopt(e)
		}
	case Tick:
		m.tick()
	case SessionOver:
		m.sessionOver()
	case SessionNew:
		if m.Phase == Orphaned {
			m.reclaim()
		}
	case Stop:
		m.stopping()
	case Cancel:
		m.cancel(e.Jobs)
	case Finished:
		if e.Fence == m.fence && (m.Phase == InRun || m.Phase == Killing) {
			m.finished(e.Outcome)
		}
	case HeadRead:
		if m.read.is(e.Op) && !m.readsRecord {
			m.read = request{}
			m.head, m.headOK = e.Head, true
			m.headRead()
		}
	case RecordRead:
		if m.read.is(e.Op) && m.readsRecord {
			m.read = request{}
			m.record, m.recordOK = e.Record, e.Found
			m.recordRead(e.Paused)
		}
	case Stored:
		if m.write.is(e.Op) {
			m.stored(e.Seq)
		}
	case Refused:
		if m.write.is(e.Op) {
			m.write = request{}
			m.claimed = false
			m.refused()
		}
	case Deleted:
		m.stepDone(e.Op, Settling, m.deleted)
	case Moved:
		m.stepDone(e.Op, Moving, m.remove)
	case Ended:
		m.stepDone(e.Op, Ending, m.look)
	case Returned:
		m.stepDone(e.Op, Returning, m.drop)
	case Published:
		m.stepDone(e.Op, Relaying, m.drop)
	case Failed:
		m.failed(e.Op)
	}
}

// stepDone runs what follows when op is the phase's own request.
func (m *machine) stepDone(op Op, p Phase, then func()) {
	if m.Phase == p && m.step.is(op) {
		m.step = request{}
		then()
	}
}

func (m *machine) do(a Action) { m.out = append(m.out, a) }

// ask begins a request: a new number, sent now.
func (m *machine) ask(r *request) Op {
	m.lastOp++
	*r = request{op: m.lastOp, first: m.v.Now, again: m.v.Now + m.v.AnswerWait}
	return m.lastOp
}

// delivered takes a turn. A lane that is being worked on keeps the newest delivery, to answer it at the end; one that is
// only being wound up starts afresh, because the old turn is then out of the way.
func (m *machine) delivered(t Turn) {
	switch m.Phase {
	case Ending:
		if t.Seq == m.Turn.Seq {
			m.Turn = t // its ack was lost, and is sent again by the tick
			return
		}
	case Idle, Returning, Looking, Relaying, Gone:
	default:
		m.Turn = t
		return
	}
	m.State = State{lastOp: m.lastOp, Turn: t, slot: true, since: m.v.Now, cancels: m.cancels}
	switch {
	case m.v.Draining || m.v.NoSlot || !m.v.alive():
		m.giveBack(0)
	case m.v.Paused:
		m.end() // a paused lane has no turn; the look after the end sees whether it still is
	default:
		if wait, ok := m.admitted(); !ok {
			m.giveBack(wait)
			return
		}
		m.begin(t)
	}
}

// begin opens a lane whose turn came.
func (m *machine) begin(t Turn) {
	switch {
	case t.Guess != 0 && t.Delivered <= 1 && !t.Relayed:
		// Most lanes were free: claim on the guess while the head is read.
		m.Phase = Opening
		m.readHead()
		m.claimFor(Record{Job: t.Guess}, 0)
	default:
		m.examine()
	}
}

// visit looks at a lane that nobody handed over: for the audit, the sweep, or a purge.
func (m *machine) visit(e Visit) {
	if m.Phase != Idle {
		return
	}
	m.Turn.Guess = e.Guess
	if e.Publish {
		m.relay(e.Guess)
		return
	}
	m.look()
}

func (m *machine) drop() {
	m.free()
	m.Phase = Gone
	m.do(Drop{})
}

func (m *machine) free() {
	if m.slot {
		m.slot = false
		m.do(FreeSlot{})
	}
}

func (m *machine) readHead() {
	m.headOK = false
	m.readsRecord = false
	op := m.ask(&m.read)
	m.headAt = m.v.Now
	r := ReadHead{Op: op, Leader: m.v.Replicated && !m.v.Broken.Off(RuleLeaderRead), Guess: m.Turn.Guess}
	if m.Turn.Alone {
		r.Alone = m.Turn.Guess
	}
	r.First = m.jobs > 0 && m.Phase != Looking || m.Turn.Delivered > 1 && !m.Turn.Alone
	m.do(r)
}

func (m *machine) readRecord() {
	m.recordOK = false
	m.readsRecord = true
	m.do(ReadRecord{Op: m.ask(&m.read)})
}

// failed sends a request that met an error again, a little later.
func (m *machine) failed(op Op) {
	for _, r := range []*request{&m.read, &m.write, &m.step} {
		if r.is(op) {
			r.again = m.v.Now + m.pause(r.tries)
		}
	}
}

// pause grows with the number of tries, up to the wait for an answer.
func (m *machine) pause(tries int) time.Duration {
	return min(50*time.Millisecond<<min(tries, 8), m.v.AnswerWait)
}

// tick keeps the claim, and sends again what got no answer: in this order, because no delete may leave under a claim
// that is not believed in any more.
func (m *machine) tick() {
	m.keepClaim()
	if m.awaitsPermit() {
		m.haveClaim()
	}
	now := m.v.Now
	if m.read.open() && now >= m.read.again {
		// A new number and a new time: an answer to the old one may be older than it looks.
		tries := m.read.tries + 1
		if m.readsRecord {
			m.readRecord()
		} else {
			m.readHead()
		}
		m.read.tries = tries
	}
	if m.write.open() && now >= m.write.again {
		m.write.tries++
		m.write.again = now + m.v.AnswerWait
		m.sendWrite()
	}
	if m.step.open() && now >= m.step.again {
		m.step.tries++
		m.step.again = now + m.v.AnswerWait
		m.sendStep()
	}
}

// sendStep sends the phase's own request, the first time or again.
func (m *machine) sendStep() {
	op := m.step.op
	switch m.Phase {
	case Settling:
		m.unsure = m.head.Seq
		m.do(DeleteJob{Op: op, Seq: m.head.Seq})
	case Moving:
		m.sendMove(op)
	case Ending:
		m.do(EndTurn{Op: op, Turn: m.Turn})
	case Returning:
		if m.step.tries > maxReturns {
			m.drop()
			return
		}
		m.do(NakTurn{Op: op, Turn: m.Turn, Delay: m.delay})
	case Relaying:
		m.do(PublishTurn{Op: op, Guess: m.head.Seq})
	}
}

// maxReturns is how often a NAK without an answer is sent again; after that the ack wait brings the turn back.
const maxReturns = 3

// enter begins a phase that consists of one request.
func (m *machine) enter(p Phase) {
	m.Phase = p
	m.ask(&m.step)
	m.sendStep()
}
