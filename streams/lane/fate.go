package lane

import "slices"

// What becomes of a job that does not succeed: tried again in its place, let pass, moved to the dead letters, or left
// where it is with its lane halted. Counts are those of this place in the queue and of the places before, which a job
// that let others pass brings along.

func (m *machine) total() Counts { return m.claim.Counts.Plus(m.brought()) }

// brought is what the job was charged with before it came here; nothing counts any more that an operator has forgiven.
func (m *machine) brought() Counts {
	if m.claim.Absolved {
		return Counts{}
	}
	return m.head.Counts
}

// exhausted says that the job has failed in this way as often as it may.
func (m *machine) exhausted(c Cause) bool {
	limit, count := m.v.MaxAttempts, m.total().Attempts
	if m.head.MaxAttempts > 0 {
		limit = m.head.MaxAttempts
	}
	switch c {
	case CauseCrashed:
		limit, count = m.v.MaxCrashes, m.total().Crashes
	case CauseMemory:
		limit, count = m.v.MaxCrashes, m.total().Memory
	}
	return limit > 0 && count >= limit
}

// tooOftenLost says that the job has taken its workers down as often as it may. It is asked before a start by whoever has
// claimed the lane, because those that ran the job cannot tell any more.
func (m *machine) tooOftenLost() bool {
	return m.claim.Lost > 0 && m.v.MaxLost > 0 && m.total().Lost >= m.v.MaxLost
}

// suspected says that one more loss would be the job's last. Which of a lost worker's jobs took it down nobody knows, so
// the loss is counted for all of them: when a host goes, they all run again at once, wherever there is room. But a worker
// runs one at a time of those that are a loss short of dead, so the last one is counted for the job that did it, and not
// for those that happened to run beside it each time.
func (s *State) suspected(v *View) bool {
	return v.MaxLost > 0 && s.claim.Lost+s.head.Counts.Lost >= max(1, v.MaxLost-1)
}

// dieLost: the start that would be next is not made.
func (m *machine) dieLost() {
	m.claim.Attempt = m.claim.Counts.starts()
	if m.claim.Cause != causeLost {
		m.claim.Cause, m.claim.Error = causeLost, "its workers were lost too often, by the limit that holds now"
	}
	m.die()
}

// die writes that the job is dead before it is moved, so that a holder that takes over in between moves it under the
// same id instead of running it once more. Where the queue, or the job, says so the job stays and its lane stands.
func (m *machine) die() {
	if m.head.Halt.or(m.v.Halt) {
		m.park(Halted, afterEnd, 0)
		return
	}
	m.claim.Dying = true
	m.park(Running, afterMove, 0)
}

func (m *machine) move() {
	m.free()
	m.enter(Moving)
}

// whole is the record with all that the job was ever charged with.
func (m *machine) whole() Record {
	r := m.claim
	r.Counts = m.total()
	r.Attempt += m.brought().starts()
	tries := append(append([]Try(nil), m.head.Tries...), r.Tries...)
	r.Tries = tries[max(0, len(tries)-maxTries):]
	return r
}

// sendMove stores the job elsewhere.
func (m *machine) sendMove(op Op) {
	r := m.whole()
	if r.Passing && !r.Dying {
		m.do(MoveLater{Op: op, Head: m.head, Record: r})
		return
	}
	m.do(MoveDead{Op: op, Head: m.head, Record: r, Move: !m.v.Broken.Off(RuleMoveIDs)})
}

// cancel ends the job if it runs, and notes the others in case that they come up while the lane is in hand. Whoever
// cancels sees to it that the job is gone, and asks again.
func (m *machine) cancel(jobs []uint64) {
	m.cancels = addJobs(m.cancels, jobs)
	if m.Phase != InRun && m.Phase != Killing || !slices.Contains(jobs, m.head.Seq) {
		return
	}
	m.cancelled = true
	if m.Phase == InRun {
		m.Phase = Killing
		m.do(Kill{Fence: m.fence, Cancel: true})
	}
}

// skip removes the head as if it had run and been cancelled at once: under a fence, so that a delete that is cut off is
// told apart from a start that never came to be.
func (m *machine) skip() {
	m.fence = m.claim.Seq
	m.outcome, m.ended = Outcome{Cause: CauseCancelled, Error: "cancelled by an operator", NotStarted: true}, true
	m.settle()
}

// reportGone tells what became of the job that was just deleted.
func (m *machine) reportGone() {
	switch {
	case m.claim.Dying:
		m.report(EndDead)
	case m.claim.Passing:
		m.report(EndRetry)
	case m.outcome.Cause == CauseCancelled:
		m.report(EndCancelled)
	default:
		m.report(EndDone)
	}
}

func (m *machine) report(e End) {
	m.do(Report{Head: m.head, Record: m.whole(), Outcome: m.outcome, End: e})
}
