package limits

import (
	"container/heap"
	"math"
	"time"
)

// demand is what a machine knows of the jobs that it could run under a limit and does not.
type demand struct {
	// away are the times at which lanes that were turned away come back, to this worker or another.
	away times
	// coming are the times until which lanes that wait in hand for their permit are expected to ask again, the oldest
	// first.
	coming []time.Duration

	wantUntil time.Duration // the want stands at least until then
	probeAt   time.Duration // for the queue's own limit: no turn is of use before
	burst     int           // how many more jobs a turn that was turned away stands for

	low      int           // the fewest permits without use since lowSince
	lowSince time.Duration // 0: none is without use

	peak      int // the most jobs that ran since peakSince
	peakSince time.Duration

	heldSince time.Duration // the own share is what it is since then
	roomSince time.Duration // 0: there is no room
}

// comingFor is how long a lane that waits in hand may be silent before it counts as gone.
const comingFor = 300 * time.Millisecond

// pass drops what is over.
func (d *demand) pass(now time.Duration) {
	for len(d.away) > 0 && d.away[0] <= now {
		heap.Pop(&d.away)
	}
	n := 0
	for n < len(d.coming) && d.coming[n] <= now {
		n++
	}
	d.coming = d.coming[n:]
}

// arrived takes one lane that asks for its permit from those that are expected.
func (d *demand) arrived() {
	if len(d.coming) > 0 {
		d.coming = d.coming[1:]
	}
}

// Admit says whether it is of use to open the lane of a turn whose job will be under these limits: a permit of each is
// free, or can be had. Otherwise the turn is better given back, for wait. The last of the limits in its way is the one
// that is said to want: what a kind keeps from running is no reason to have more of the queue's.
func (m *Machine) Admit(names ...string) (wait time.Duration, ok bool) {
	crowded := false
	for i := len(names) - 1; i >= 0; i-- {
		l := m.limits[names[i]]
		switch {
		case l == nil || l.n == 0 || m.prospects(l, l.opening):
		case m.prospects(l, 0):
			crowded = true // it is for those that are being opened
		default:
			return m.turnAway(l), false
		}
	}
	if crowded {
		return m.spread(m.cfg.DelayMin), false
	}
	return 0, true
}

// Enter tells that a lane of this type is being opened, and may ask for a permit; Leave that it is not any more,
// because its job has started or because it came to nothing. While it is, a free permit is kept for it.
func (m *Machine) Enter(typ string) { m.entered(typ, 1) }

// Leave is the end of what Enter began.
func (m *Machine) Leave(typ string) { m.entered(typ, -1) }

func (m *Machine) entered(typ string, n int) {
	for _, name := range Names(typ, "") {
		l := m.limit(name)
		l.opening += n
		l.dirty = l.dirty || l.n > 0
	}
}

// prospects says whether more than taken permits are free or can be had.
func (m *Machine) prospects(l *limit, taken int) bool {
	return m.free(l)+m.room(l)-taken > 0
}

// Acquire takes a permit of each limit for one job that is about to start: of all, or of none. Each job acquires its own;
// the permit of the job before is released first. A permit that is not Held was refused. Soon says that it can be had,
// and is being got: the lane had better stay in hand for some hundred milliseconds and ask again, after each answer or
// document. Again says that this is such a repetition. Otherwise, or when it lasts, the lane is to be given back for
// wait. It is asked between Enter and Leave.
//
// Only when all that is lacking can be had anything is got: lanes that lack a permit of their kind must not keep those
// of the queue from others.
func (m *Machine) Acquire(again bool, names ...string) (p Permit, wait time.Duration, soon bool) {
	if m.me == "" {
		return Permit{}, m.cfg.DelayMin, false
	}
	var full *limit
	for _, name := range names {
		l := m.limits[name]
		if l == nil {
			continue
		}
		l.pass(m.now)
		if again {
			l.arrived()
		}
		if l.n > 0 && m.free(l) == 0 {
			soon = true
			if !m.prospects(l, len(l.coming)) {
				full = l
			}
		}
	}
	switch {
	case full != nil:
		return Permit{}, m.turnAway(full), false
	case soon:
		for _, name := range names {
			if l := m.limits[name]; l != nil && l.n > 0 {
				l.coming = append(l.coming, m.now+comingFor)
				l.dirty = true
			}
		}
		return Permit{}, m.spread(m.cfg.DelayMin), true
	}
	for _, name := range names {
		l := m.limit(name)
		l.inUse++
		l.peak = max(l.peak, l.inUse)
	}
	return Permit{life: m.life, names: names}, 0, false
}

// Release gives a permit back when nothing of its job runs any more. A permit of a session that is over frees nothing.
func (m *Machine) Release(p Permit) {
	if !p.Held() || p.life != m.life {
		return
	}
	for _, name := range p.names {
		l := m.limit(name)
		if l.inUse == 0 {
			continue
		}
		l.inUse--
		l.dirty = true
		if l.n > 0 && l.hungry && m.yields(l, m.share(l)-l.yields) {
			l.yields++
		}
	}
}

// yields says whether a session with own permits gives the next one that becomes free to the one that wants it most.
func (m *Machine) yields(l *limit, own int) bool {
	if m.cfg.Broken.Off(RuleGive) {
		return false
	}
	to := l.doc.hungriest(m.me, m.dead)
	return to != "" && m.exceeds(l, own, l.doc.Shares[to])
}

// exceeds says whether own is so much more than theirs that a permit in need is to be given all the same.
func (m *Machine) exceeds(l *limit, own, theirs int) bool {
	return own >= theirs+2 || own == theirs+1 && m.now-l.heldSince >= m.cfg.Hold
}

// turnAway notes a lane that limit l keeps from starting, and says for how long it is to be given back: the more there
// are, the longer, so that they come back at a bounded rate.
func (m *Machine) turnAway(l *limit) time.Duration {
	l.pass(m.now)
	l.dirty = true
	d := min(time.Duration(len(l.away)+1)*time.Second/time.Duration(m.cfg.Rate), m.cfg.DelayMax)
	if l.name == Queue {
		d = max(d, m.cfg.Probe)
	}
	d = m.spread(d)
	heap.Push(&l.away, m.now+d+m.cfg.DelayMin)
	l.wantUntil = m.now + d + m.cfg.WantKeep
	if l.name == Queue && m.now >= l.probeAt {
		l.probeAt = m.now + d
		l.burst = min(max(2*l.burst, 1), l.n, max(m.slots, 1))
	}
	return d
}

// spread keeps lanes that were turned away together from coming back together.
func (m *Machine) spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 + 0.4*m.random()))
}

// needed is how many permits the own session has use for: for what runs, and for what waits in hand.
func (l *limit) needed(now time.Duration) int {
	l.pass(now)
	return l.inUse + len(l.coming)
}

// lacking is how many more jobs it turned away that it could run.
func (l *limit) lacking() int {
	if len(l.away) == 0 {
		return 0
	}
	return max(len(l.away), l.burst)
}

// Startable is how many more jobs could start under the queue's own limit, permits that can be had included; slots is
// how many could if there were none. When no permit can be had it is 1 now and then: whether turns wait is only found
// out by asking for one.
func (m *Machine) Startable(slots int) int {
	m.slots = slots
	l := m.limits[Queue]
	switch {
	case l == nil || l.n == 0:
		return math.MaxInt32
	case m.me == "":
		return 0
	}
	n := m.free(l) + m.room(l)
	if n == 0 && m.now >= l.probeAt {
		return 1
	}
	return n
}

// times is a heap of times, the earliest first.
type times []time.Duration

func (t times) Len() int           { return len(t) }
func (t times) Less(i, j int) bool { return t[i] < t[j] }
func (t times) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }

// Push is heap.Interface's.
func (t *times) Push(x any) { *t = append(*t, x.(time.Duration)) }

// Pop is heap.Interface's.
func (t *times) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}
