package limits

import "time"

// plan decides what this session writes into a limit's document now: it gives away what others are to have, takes what
// it needs and nobody has, and says what it still wants. One write at a time.
func (m *Machine) plan(l *limit) {
	l.hungry = l.doc.hungriest(m.me, m.dead) != ""
	if l.write != nil {
		return
	}
	defer func() {
		if l.write == nil {
			l.yields = 0
		}
	}()
	d := draft{m: m, l: l, own: l.doc.Shares[m.me]}
	_, wanting := l.doc.Wants[m.me]
	if l.n == 0 {
		// Not limited any more: nothing is to be kept in a document that nobody heeds.
		if d.own > 0 || wanting {
			d.open()
			d.change(-d.own)
			delete(d.doc.Wants, m.me)
			m.send(l, d.doc, 0)
		}
		return
	}
	needed := l.needed(m.now)
	d.sum = l.doc.sum(m.dead)
	switch {
	case d.sum >= l.n:
		l.roomSince = 0
	case l.roomSince == 0:
		l.roomSince = m.now
	}
	switch {
	case d.own < l.inUse:
		// Its document was removed, or the limit is new: what runs is written down whatever the sum becomes.
		if !m.cfg.Broken.Off(RuleWriteDown) {
			d.change(l.inUse - d.own)
		}
	case d.sum > l.n:
		d.change(-min(d.own-l.inUse, d.sum-l.n))
	case l.hungry && !m.cfg.Broken.Off(RuleGive):
		d.giveAway(needed)
	default:
		d.change(-m.idle(l, d.own-needed-l.kept(m.now), m.cfg.Keep))
	}
	if needed > d.own && d.sum < l.n {
		d.change(min(needed-d.own, d.takeable()))
	}
	d.want(needed-d.own, wanting)
	if d.changed {
		if d.own != l.doc.Shares[m.me] {
			l.heldSince = m.now
		}
		m.send(l, d.doc, d.own)
	}
}

// draft is a document that is being changed.
type draft struct {
	m       *Machine
	l       *limit
	doc     Document
	own     int
	sum     int
	changed bool
}

// open makes the copy that is to be changed; most looks change nothing.
func (d *draft) open() {
	if !d.changed {
		d.changed = true
		d.doc = d.l.doc.living(d.m.dead)
	}
}

// change adds to the own share.
func (d *draft) change(n int) {
	if n == 0 {
		return
	}
	d.open()
	d.doc.add(d.m.me, n)
	d.own += n
	d.sum += n
}

// giveAway gives permits to others that want some: those without use, and, job by job, those by which this session has
// more.
func (d *draft) giveAway(needed int) {
	m, l := d.m, d.l
	kept := l.kept(m.now)
	idle := m.idle(l, d.own-needed-kept, m.cfg.KeepWanted)
	for free := d.own - l.inUse - kept; free > 0; free-- {
		from := &l.doc
		if d.changed {
			from = &d.doc
		}
		to := from.hungriest(m.me, m.dead)
		if to == "" {
			return
		}
		theirs := from.Shares[to]
		switch spare := d.own - needed - kept; {
		case spare > 0 && d.own > theirs:
		case spare > 0 && idle > 0:
			idle--
		case m.exceeds(l, d.own, theirs):
		default:
			return
		}
		d.open()
		d.doc.give(m.me, to)
		d.own--
	}
}

// idle is how many permits have been without use for all of a while; spare is how many are now.
func (m *Machine) idle(l *limit, spare int, keep time.Duration) int {
	switch {
	case spare <= 0 || m.cfg.Broken.Off(RuleGiveBack):
		l.lowSince = 0
		return 0
	case l.lowSince == 0 || m.now-l.lowSince >= keep && l.low == 0:
		l.low, l.lowSince = spare, m.now
		return 0
	}
	l.low = min(l.low, spare)
	if m.now-l.lowSince < keep {
		return 0
	}
	n := l.low
	l.low, l.lowSince = spare-n, m.now
	l.burst = 0
	return n
}

// takeable is how much of the free room this session may take: all, unless others want some of it and it has its part;
// and all the same when they do not take it.
func (d *draft) takeable() int {
	m, l := d.m, d.l
	room := l.n - d.sum
	if !l.hungry || l.roomSince != 0 && m.now-l.roomSince >= m.cfg.Polite {
		return room
	}
	others := map[string]bool{m.me: true}
	for s := range l.doc.Shares {
		others[s] = true
	}
	for s := range l.doc.Wants {
		others[s] = true
	}
	part := 0
	for s := range others {
		if s == m.me || !m.dead(s) {
			part++
		}
	}
	part = (l.n + part - 1) / part
	return min(room, max(part-d.own, 0))
}

// want says, or no longer says, that this session could run more.
func (d *draft) want(missing int, wanting bool) {
	m, l := d.m, d.l
	now := l.doc.Wants[m.me]
	switch {
	case missing > 0 && (!wanting || d.changed || missing >= 2*now.N):
		d.open()
		since := l.rev
		if wanting {
			since = now.Since
		}
		d.doc.Wants[m.me] = Want{N: missing, Since: since}
	case missing <= 0 && wanting && (d.changed || m.now >= l.wantUntil):
		d.open()
		delete(d.doc.Wants, m.me)
	}
}
