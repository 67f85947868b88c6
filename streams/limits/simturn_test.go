package limits

import (
	"slices"
	"time"
)

// pull takes lanes that wait, as a holder does.
func (n *simNode) pull() {
	w := n.w
	free := w.p.slots - n.jobs() - n.opening
	want := min(free-n.asked, n.m.Startable(free)-n.opening-n.asked)
	if !n.stands || want <= 0 {
		return
	}
	n.asked += want
	life := n.life
	w.in(200*time.Microsecond+w.upTo(time.Millisecond), func() {
		if !n.up || n.life != life {
			return
		}
		n.asked -= want
		for i := 0; i < len(w.ready) && want > 0; {
			l := w.ready[i]
			if w.now < n.cutUntil || !w.p.serves(n.idx, l) {
				i++
				continue
			}
			w.ready = slices.Delete(w.ready, i, i+1)
			l.ready = false
			want--
			n.do(func() { n.open(l) })
		}
	})
}

// open is a turn from its delivery to the start.
func (n *simNode) open(l *simLane) {
	w := n.w
	guess := l.kind
	if w.chance(.2) {
		guess = ""
	}
	wait, ok := n.m.Admit(Names(l.typ, guess)...)
	if !ok || !n.stands {
		w.in(max(wait, time.Millisecond), func() { w.offer(l) })
		return
	}
	n.opening++
	n.m.Enter(l.typ)
	life, by := n.life, w.now+500*time.Millisecond
	again := false
	var try func()
	try = func() {
		if !n.up || n.life != life {
			w.in(w.upTo(time.Second), func() { w.offer(l) })
			return
		}
		n.do(func() {
			wait := time.Millisecond
			if w.chance(w.p.nothing) { // its job is gone
				n.opening--
				n.m.Leave(l.typ)
				w.in(20*time.Millisecond, func() { w.offer(l) })
				return
			}
			if n.stands && w.now < n.until {
				var p Permit
				var soon bool
				if p, wait, soon = n.m.Acquire(again, l.names...); p.Held() {
					n.opening--
					n.m.Leave(l.typ)
					j := &simJob{node: n, lane: l, names: l.names, permit: p, life: n.life}
					n.started = w.now
					w.note("%s starts lane %d (%s, %s)", n.name(), l.id, l.typ, l.kind)
					w.begin(j)
					w.in(time.Millisecond+w.upTo(w.p.job), func() { n.ended(j) })
					return
				}
				if again = soon; soon && w.now < by {
					w.in(w.upTo(50*time.Millisecond), try)
					return
				}
			}
			n.opening--
			n.m.Leave(l.typ)
			w.in(wait, func() { w.offer(l) })
		})
	}
	w.in(500*time.Microsecond+w.upTo(3*time.Millisecond), try)
}

// ended: a job's processes are gone.
func (n *simNode) ended(j *simJob) {
	if !j.alive {
		return
	}
	n.w.finish(j, n.w.upTo(n.w.p.pause))
	if n.up && n.life == j.life {
		n.do(func() { n.m.Release(j.permit) })
	}
}

// hunger looks at how long the worker has lanes and gets none to run.
func (n *simNode) hunger() {
	w := n.w
	if w.p.hungry == 0 || !w.calm || w.now < w.p.span+5*simLease {
		return
	}
	waits := slices.ContainsFunc(w.lanes, func(l *simLane) bool { return l.work && w.p.serves(n.idx, l) })
	if !waits || n.jobs() > 0 {
		n.started = w.now
		return
	}
	w.stats.hunger = max(w.stats.hunger, w.now-n.started)
	if w.now-n.started > w.p.hungry {
		w.fail("%s has had nothing to run for %v, though lanes wait for it", n.name(), w.p.hungry)
	}
}
