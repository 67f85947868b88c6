package limits

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
	default:
		d.giveAway(needed)
		d.change(-max(m.idle(l, d.own-max(needed, l.inUse+l.opening)), m.unused(l, d.own)))
	}
	if needed > d.own && d.sum < l.n {
		d.change(min(needed-d.own, d.takeable()))
	}
	d.want(max(needed+l.lacking()-d.own, 0), wanting)
	if d.changed {
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

// giveAway gives, job by job, the permits by which this session has more than others that want some, in the same write
// that takes them from it.
func (d *draft) giveAway(needed int) {
	m, l := d.m, d.l
	if !l.hungry || m.cfg.Broken.Off(RuleGive) {
		return
	}
	// Those that jobs have just freed for others, and those that no lane is coming for.
	for free := max(l.yields, d.own-needed); free > 0 && d.own > l.inUse; free-- {
		from := &l.doc
		if d.changed {
			from = &d.doc
		}
		to := from.hungriest(m.me, m.dead)
		if to == "" || !m.exceeds(l, d.own, from.Shares[to]) {
			return
		}
		d.open()
		d.doc.give(m.me, to, l.rev)
		d.own--
	}
}

// idle is how many permits have been without use for a while; spare is how many are now.
func (m *Machine) idle(l *limit, spare int) int {
	switch {
	case spare <= 0 || m.cfg.Broken.Off(RuleGiveBack):
		l.lowSince = 0
		return 0
	case l.lowSince == 0 || l.low == 0:
		l.low, l.lowSince = spare, m.now
	}
	l.low = min(l.low, spare)
	if m.now-l.lowSince < m.cfg.Keep {
		return 0
	}
	n := l.low
	l.low, l.lowSince = spare-n, m.now
	l.burst = 0
	return n
}

// unused is how many permits no job has had for a longer while, though lanes may have been opened for them: such as
// those that lack a permit of their kind.
func (m *Machine) unused(l *limit, own int) int {
	if m.now-max(l.peakSince, l.heldSince) < m.cfg.KeepUnused {
		return 0
	}
	n := max(own-l.peak, 0)
	l.peak, l.peakSince = l.inUse, m.now
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
		if wanting && d.own >= l.doc.Shares[m.me] {
			since = now.Since // who gives one away wants anew
		}
		d.doc.Wants[m.me] = Want{N: missing, Since: since}
	case missing <= 0 && wanting && (d.changed || m.now >= l.wantUntil):
		d.open()
		delete(d.doc.Wants, m.me)
	}
}
