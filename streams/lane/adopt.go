package lane

// Adopted is a lane that a former engine of this worker held when it died.
type Adopted struct {
	Lane string
	Turn Turn
	// Job and Fence are of the run that was cut.
	Job, Fence uint64
}

// Adopt takes over what a former engine of the same worker left, once its groups are empty: its claims are given back,
// and then its session gets its farewell, so that nobody has to wait for its lease. Crashed says that it died by
// itself: then its jobs are counted as lost, because one of them may be the reason; else they were interrupted. Call it
// before the first Tick.
func (h *Holder) Adopt(old Farewell, lanes []Adopted, crashed bool) {
	h.old = append(h.old, old)
	for _, a := range lanes {
		h.Lane(a.Lane, adopted{Adopted: a, session: old.Session, crashed: crashed})
	}
}

// adopted is the event behind Adopt.
type adopted struct {
	Adopted
	session string
	crashed bool
}

func (adopted) event() {}

// adopt waits for a session, like a lane whose own session was cut.
func (m *machine) adopt(a adopted) {
	m.State = State{
		Phase: Orphaned, Turn: a.Turn, lastOp: m.lastOp, cut: true, orphanOf: a.session, adopted: true, diedOfIt: a.crashed,
		fence: a.Fence, claim: Record{Job: a.Job, Session: a.session},
	}
}

// bequeathed is what becomes of a dead engine's record. It gets the mark: deletes that the engine sent may still be on
// their way.
func (m *machine) bequeathed(r *Record) {
	r.State, r.Stolen = GivenBack, !m.v.Broken.Off(RuleStolenMark)
	switch {
	case r.moving():
	case m.diedOfIt:
		m.lose(r, *r)
	default:
		r.Interrupted++
	}
}
