package lane

import "time"

// Gate grants permits under the limits that a queue's jobs share across all workers. The holder calls it from the
// goroutine that owns it. A lane has a permit from just before its job's start until its processes are gone, so one that
// waits, for whatever, has none.
type Gate interface {
	// At sets the clock for the calls that follow; Session tells which session stands, empty for none: permits of
	// another are void.
	At(now time.Duration)
	Session(id string)
	// Admit says whether it is of use to open a lane of this type, for a job that is likely to be of this kind, if one is
	// given: a permit is free or can be had. If not, its turn is given back for wait.
	Admit(typ, kind string) (wait time.Duration, ok bool)
	// Enter tells that a lane of this type is being opened, Leave that it is not any more: started, or come to nothing.
	Enter(typ string)
	Leave(typ string)
	// Acquire takes the permit for a job; nil is none, and wait says when to come back. Soon says that one is being got:
	// the lane had better stay in hand and ask again, and say so. Release returns it.
	Acquire(typ, kind string, again bool) (p Permit, wait time.Duration, soon bool)
	Release(p Permit)
	// Startable is how many further jobs the limit of the whole queue allows, with so many slots free.
	Startable(slots int) int
}

// Permit is the gate's own; nil is none.
type Permit any

// admitted asks the gate about a turn that just came.
func (m *machine) admitted() (wait time.Duration, ok bool) {
	if m.v.Gate == nil {
		return 0, true
	}
	kind := m.Turn.Kind
	if m.Turn.Delivered%guessesTrusted == 0 {
		kind = ""
	}
	return m.v.Gate.Admit(m.v.Type, kind)
}

// guessesTrusted: every so many deliveries of a turn its lane is looked at whatever kind the turn speaks of. The job at
// the head may be another one, and its kind have permits.
const guessesTrusted = 4

// permitWait bounds how long a lane stays in hand for a permit that is being got.
const permitWait = 500 * time.Millisecond

// permitted takes the permit for the head. Without one the lane is given back until there may be one, unless it is only
// a moment: it would meet the same moment at the next worker.
func (m *machine) permitted() bool {
	if m.v.Gate == nil {
		return true
	}
	p, wait, soon := m.v.Gate.Acquire(m.v.Type, m.head.Kind, m.permitBy != 0)
	switch {
	case p != nil:
		m.permit, m.permitBy = p, 0
		return true
	case soon && m.permitBy == 0:
		m.permitBy = m.v.Now + permitWait
	case !soon || m.v.Now >= m.permitBy:
		m.permitBy = 0
		m.park(GivenBack, afterNak, wait)
	}
	return false
}

// awaitsPermit says that nothing but the permit is missing.
func (s *State) awaitsPermit() bool {
	return s.permitBy != 0 && (s.Phase == Opening || s.Phase == Examining) && !s.read.open() && !s.write.open()
}

// Permits tells that the gate of a queue has learnt something: lanes that wait for a permit ask again.
func (h *Holder) Permits(name string) {
	q := h.queue(name)
	if q == nil || q.permitless == 0 {
		return
	}
	for i := len(h.order) - 1; i >= 0; i-- {
		if l := h.order[i]; l.q == q && l.s.awaitsPermit() {
			h.step(l, Tick{})
		}
	}
}

// returnPermit is called when no process of the lane is alive any more.
func (l *held) returnPermit() {
	if l.s.permit != nil {
		l.q.view.Gate.Release(l.s.permit)
		l.s.permit = nil
	}
}

// typeOf is the entity type in a lane's name.
func typeOf(lane string) string {
	from := 0
	for i := range len(lane) {
		if lane[i] != '.' {
			continue
		}
		if from > 0 {
			return lane[from:i]
		}
		from = i + 1
	}
	return ""
}
