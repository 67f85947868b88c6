package limits

import (
	"fmt"
	"slices"
	"time"
)

// simNode is one worker: a Machine, a session, slots.
type simNode struct {
	w    *world
	idx  int
	up   bool
	life int
	m    *Machine

	session string
	stands  bool
	until   time.Duration // of its belief
	serial  int

	opening, asked int
	final          map[string]bool
	heardOf        map[string]time.Duration // sessions' beats, as far as it heard

	cutUntil  time.Duration // nothing goes out or comes in
	deafUntil time.Duration // the watch of documents tells nothing
	started   time.Duration // last start, or the last time that nothing waited for it
}

func (n *simNode) name() string { return fmt.Sprintf("n%d", n.idx) }

func (n *simNode) jobs() (k int) {
	for _, j := range n.w.jobs {
		if j.node == n {
			k++
		}
	}
	return k
}

func (n *simNode) start() {
	w := n.w
	n.life++
	n.up, n.stands, n.session, n.opening, n.asked = true, false, "", 0, 0
	n.final, n.heardOf = map[string]bool{}, map[string]time.Duration{}
	cfg := DefaultConfig()
	cfg.Broken = w.p.broken
	n.m = New(cfg, n.dead, w.rng.Float64)
	for _, id := range w.names {
		if w.sessions[id].final {
			n.final[id] = true
		}
	}
	n.do(func() { n.m.SetLimits(w.bounds) })
	for name, d := range w.docs {
		n.do(func() { n.m.Seen(name, d.rev, d.text) })
	}
	n.beat(n.life)
	n.tick(n.life)
}

// dead is what the machine asks about other sessions.
func (n *simNode) dead(id string) bool {
	if n.w.p.broken.Off(RuleOnlyDead) && id != n.session && n.w.now-n.heardOf[id] > 3*time.Second {
		return true
	}
	return n.final[id]
}

// show tells the node that a session is final, some time later.
func (n *simNode) show(id string) {
	life := n.life
	n.w.in(n.w.upTo(300*time.Millisecond), func() {
		if n.up && n.life == life {
			n.do(func() { n.final[id] = true })
		}
	})
}

// do is one round of its loop.
func (n *simNode) do(f func()) {
	n.m.At(n.w.now)
	f()
	if n.stands && n.w.now >= n.until {
		n.over()
	}
	n.pull()
	for _, a := range n.m.Actions() {
		n.act(a)
	}
}

// tick lets time pass.
func (n *simNode) tick(life int) {
	if !n.up || n.life != life {
		return
	}
	n.w.in(40*time.Millisecond+n.w.upTo(40*time.Millisecond), func() { n.tick(life) })
	n.do(func() {})
	n.hunger()
}

// over ends the session: what runs is killed, which takes a moment.
func (n *simNode) over() {
	w := n.w
	w.note("%s: session %s is over", n.name(), n.session)
	n.stands, n.session = false, ""
	n.m.Session("")
	for _, j := range slices.Clone(w.jobs) {
		if j.node == n && j.life == n.life {
			w.in(w.upTo(simMargin-500*time.Millisecond), func() { n.ended(j) })
		}
	}
}

// beat keeps the session.
func (n *simNode) beat(life int) {
	w := n.w
	if !n.up || n.life != life {
		return
	}
	w.in(simLease/4, func() { n.beat(life) })
	if !n.stands && n.jobs() > 0 {
		return
	}
	id := n.session
	fresh := !n.stands
	if fresh {
		n.serial++
		id = fmt.Sprintf("%s.%d.%d", n.name(), n.life, n.serial)
	}
	sent := w.now
	n.ask(func() func() {
		s := w.sessions[id]
		if s == nil {
			s = &simSession{}
			w.sessions[id] = s
			w.names = append(w.names, id)
			w.stats.sessions++
		}
		if s.final {
			return func() {
				if n.stands && n.session == id {
					n.over()
				}
			}
		}
		s.beat = w.now
		for _, o := range w.nodes {
			if o.up && w.now >= o.cutUntil {
				o.heardOf[id] = w.now
			}
		}
		return func() {
			until := sent + simLease - simMargin
			if w.now >= until || n.session != id && (!fresh || n.stands || n.jobs() > 0) {
				return // a late one revives nothing
			}
			n.until = until
			if !n.stands {
				w.note("%s: session %s stands", n.name(), id)
				n.session, n.stands = id, true
				n.m.Session(id)
			}
		}
	}, nil)
}

// crash kills the worker and all that runs in it.
func (n *simNode) crash() {
	if !n.up {
		return
	}
	n.w.stats.kills++
	n.w.note("%s is killed", n.name())
	n.down()
}

func (n *simNode) down() {
	n.up = false
	for _, j := range slices.Clone(n.w.jobs) {
		if j.node == n {
			n.w.finish(j, n.w.upTo(time.Second))
		}
	}
	n.w.in(n.w.upTo(2*simLease), func() {
		if !n.up {
			n.start()
		}
	})
}

// stop ends the worker with a farewell, once nothing of it runs.
func (n *simNode) stop() {
	if !n.up || !n.stands {
		return
	}
	id := n.session
	n.w.note("%s stops", n.name())
	n.down()
	n.w.in(n.w.upTo(20*time.Millisecond), func() { n.w.end(id) })
}

// cut separates the worker from the store for a while.
func (n *simNode) cut() {
	n.w.stats.cuts++
	d := n.w.upTo(2 * simLease)
	if n.w.chance(.5) {
		d = n.w.upTo(simLease / 2)
	}
	n.w.note("%s is cut off for %v", n.name(), d)
	n.cutUntil = n.w.now + d
}

// ask sends a request and brings its answer; failed is called when the client learns that it went wrong.
func (n *simNode) ask(serve func() func(), failed func()) {
	w, life := n.w, n.life
	lost := func() bool { return w.now < n.cutUntil || !w.calm && w.chance(w.p.loss) }
	latency := func() time.Duration {
		if !w.calm && w.chance(.05) {
			return w.upTo(w.p.late)
		}
		return 200*time.Microsecond + w.upTo(2*time.Millisecond)
	}
	back := func(f func()) {
		if f != nil {
			w.in(latency(), func() {
				if n.up && n.life == life && w.now >= n.cutUntil {
					n.do(f)
				}
			})
		}
	}
	if lost() {
		if w.chance(.3) {
			back(failed)
		}
		return
	}
	w.in(latency(), func() {
		f := serve()
		if lost() {
			if w.chance(.3) {
				back(failed)
			}
			return
		}
		back(f)
	})
}

// act carries out one action.
func (n *simNode) act(a Action) {
	w := n.w
	if r := a.Read; r != nil {
		op := r.Op
		n.ask(func() func() {
			d, ok := w.docs[r.Name]
			if !ok {
				return func() { n.m.Missing(op) }
			}
			return func() { n.m.Found(op, d.rev, d.text) }
		}, func() { n.m.Failed(op) })
		return
	}
	op, name, expect, text := a.Write.Op, a.Write.Name, a.Write.Expect, a.Write.Doc.Encode()
	n.ask(func() func() {
		if w.docs[name].rev != expect && !w.p.broken.Off(RuleShareCAS) {
			w.stats.refused++
			return func() { n.m.Refused(op) }
		}
		w.rev++
		rev := w.rev
		w.docs[name] = simDoc{rev, text}
		w.stats.writes++
		w.note("%s writes %s %d: %s", n.name(), name, rev, text)
		for _, o := range w.nodes {
			o.watched(name)
		}
		return func() { n.m.Stored(op, rev) }
	}, func() { n.m.Failed(op) })
}

// watched brings the newest document, at once or when the watch wakes up.
func (n *simNode) watched(name string) {
	w, life := n.w, n.life
	if !w.calm && w.p.stale > 0 && w.now >= n.deafUntil && w.chance(.02) {
		n.deafUntil = w.now + w.upTo(w.p.stale)
	}
	d := w.docs[name]
	at := max(w.now, n.deafUntil, n.cutUntil) - w.now + 200*time.Microsecond + w.upTo(3*time.Millisecond)
	w.in(at, func() {
		if n.up && n.life == life && w.now >= n.cutUntil {
			n.do(func() { n.m.Seen(name, d.rev, d.text) })
		}
	})
}
