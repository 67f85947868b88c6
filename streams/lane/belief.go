package lane

// What a holder does about its own session, and with what it sees of the others': what begins and ends a session, and
// when it says goodbye.

func (h *Holder) write(writes []WriteSession) {
	for _, w := range writes {
		h.out = append(h.out, Output{Session: &w})
	}
}

// over ends the session: every lane is told.
func (h *Holder) over() {
	h.viewSession()
	h.out = append(h.out, Output{Over: h.session.ID})
	h.old = append(h.old, Farewell{Session: h.session.ID, Expect: h.session.Seq})
	h.all(SessionOver{})
}

// sayGoodbye ends the records of former sessions once nothing of theirs is left.
func (h *Holder) sayGoodbye() {
	if len(h.old) == 0 {
		return
	}
	for _, l := range h.order {
		switch l.s.Phase {
		case Killing, Stuck, Orphaned, Reclaiming:
			return
		}
		if l.s.cut {
			return
		}
	}
	for _, f := range h.old {
		h.out = append(h.out, Output{Farewell: &f})
	}
	h.old = nil
}

// SessionStored: the write of the own session's record was confirmed.
func (h *Holder) SessionStored(op Op, seq uint64) {
	before := h.session.Phase
	h.session = h.session.Stored(op, seq, &h.cfg, h.now)
	h.viewSession()
	if before == SessionOpening && h.session.Phase == SessionStands {
		h.all(SessionNew{})
	}
}

// SessionRefused: the write of the own session's record met another record.
func (h *Holder) SessionRefused(op Op) {
	stood := h.session.Phase == SessionStands
	next, over := h.session.Refused(op)
	h.session = next
	if over && stood {
		h.over()
	}
}

// TouchSession has the session's record rewritten soon.
func (h *Holder) TouchSession() { h.session = h.session.Touch() }

// See notes a session's record. The own session, declared dead by somebody, is over at once.
func (h *Holder) See(s Sighting) {
	if s.Session == h.session.ID && h.session.Phase != SessionNone {
		if s.Final {
			stood := h.session.Phase == SessionStands
			h.session = h.session.end()
			if stood {
				h.over()
			}
			h.obs.See(s, h.now)
		}
		return
	}
	h.obs.See(s, h.now)
}

// Forget drops a session whose record expired.
func (h *Holder) Forget(session string) { h.obs.Forget(session) }

// Dead says whether a session is known to be over.
func (h *Holder) Dead(session string) bool { return h.obs.Dead(session) }

// DeadOrWatched is Dead for who needs to know soon: a session without a record is watched from now on, and declared dead
// after a lease.
func (h *Holder) DeadOrWatched(session string) bool { return h.dead(session) }

// Goodbye ends the own session and returns its farewell, when no lane is left: only then are its groups empty and its
// claims given back. Not while its record is being rewritten: the farewell has to expect the last one. No further
// session begins.
func (h *Holder) Goodbye() (Farewell, bool) {
	if len(h.order) > 0 || h.session.Phase != SessionStands || h.session.Writing() {
		return Farewell{}, false
	}
	f := Farewell{Session: h.session.ID, Expect: h.session.Seq}
	h.stopped = true
	h.session = h.session.end()
	h.viewSession()
	return f, true
}
