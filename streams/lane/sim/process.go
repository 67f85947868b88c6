package sim

import (
	"slices"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// process is one run of a job: its group of processes.
type process struct {
	n       *node
	gen     int
	lane    *entity
	job     *job
	fence   uint64
	session string

	suspect bool // its job is one loss short of dead
	dying   bool
	term    bool
	over    bool
	outcome lane.Cause
	told    bool // its end was told to the holder, or will be
}

// run starts a job.
func (n *node) run(e *entity, a lane.Start) {
	w := n.w
	j := a.Head.Payload.(*job)
	p := &process{n: n, gen: n.gen, lane: e, job: j, fence: a.Fence, session: n.h.Session().ID}
	w.checkStart(p, a)
	e.running = append(e.running, p)
	n.processes = append(n.processes, p)
	j.last = p
	j.starts++
	e.fence = a.Fence
	w.stats.Starts++
	took := w.upTo(w.p.Short)
	switch {
	case w.calm:
		took = w.upTo(20 * time.Millisecond)
	case w.chance(w.p.Long):
		took = w.upTo(w.p.LongMax)
	case w.chance(.3):
		took = 0
	}
	if j.kind == poison {
		w.in(min(took, 2*time.Second), func() {
			if !p.over && n.gen == p.gen && n.up {
				w.note(e, n.name(), "job %d takes its holder down", j.seq)
				n.die(true)
			}
		})
		return
	}
	cause := lane.CauseDone
	if !w.calm {
		switch {
		case w.chance(w.p.Fail):
			cause = lane.CauseFailed
		case w.chance(w.p.Fatal):
			cause = lane.CauseFatal
		case w.chance(w.p.Crash):
			cause = lane.CauseCrashed
		case w.chance(w.p.Interrupt):
			cause = lane.CauseInterrupted
		}
	}
	w.in(took, func() { p.end(cause) })
}

// killMax is the longest that killing a group takes: with a tick before it, less than the margin.
func (w *world) killMax() time.Duration { return w.p.Config.Margin - 400*time.Millisecond }

// kill ends the group: at once, or with time to end by itself.
func (p *process) kill(now bool) {
	w := p.n.w
	if p.told && now {
		w.in(w.upTo(w.killMax()), p.remove) // one that was stuck goes at last
		return
	}
	if p.over || p.dying || p.term && !now {
		return
	}
	took := w.upTo(100 * time.Millisecond)
	if w.chance(.3) {
		took = w.upTo(w.killMax())
	}
	if now {
		p.dying = true
	} else {
		p.term = true
		took += w.upTo(3 * time.Second)
	}
	w.in(took, func() { p.end(lane.CauseInterrupted) })
}

// end is when the last process of the group is gone, by itself or killed.
func (p *process) end(cause lane.Cause) {
	if p.over {
		return
	}
	w := p.n.w
	if !p.told {
		p.told, p.outcome = true, cause
		o := lane.Outcome{Cause: cause, Error: cause.String()}
		if cause == lane.CauseInterrupted && w.chance(w.p.Stuck) && !w.calm {
			o.Stuck = true
			// What could not be shown to be gone does go, some time: at the latest when the session ends or the holder is
			// killed for it.
			rest := 5 * time.Second
			if !p.n.believes(p.session) {
				rest = 300 * time.Millisecond
			}
			w.in(w.upTo(rest), p.remove)
			gen := p.gen
			w.in(20*time.Second, func() {
				if p.n.gen == gen && p.n.up {
					p.n.crash()
				}
			})
		}
		if cause == lane.CauseDone && !o.Stuck {
			p.job.wellEnded = true
		}
		w.note(p.lane, p.n.name(), "job %d under %d ends: %s, stuck %v", p.job.seq, p.fence, cause, o.Stuck)
		fence := p.fence
		p.n.post(p.gen, func() { p.n.h.Lane(p.lane.name, lane.Finished{Fence: fence, Outcome: o}) })
		if o.Stuck {
			return
		}
	}
	p.remove()
}

// remove takes the process out of the world.
func (p *process) remove() {
	if p.over {
		return
	}
	p.over = true
	p.lane.stillAt = p.n.w.now
	is := func(o *process) bool { return o == p }
	p.lane.running = slices.DeleteFunc(p.lane.running, is)
	p.n.processes = slices.DeleteFunc(p.n.processes, is)
}

// crash kills the node and all its processes at once; it comes back as a new life.
func (n *node) crash() {
	if !n.up {
		return
	}
	n.w.stats.Kills++
	n.w.note(nil, n.name(), "killed")
	n.vanish(n.w.upTo(8 * time.Second))
}

// die ends the engine alone, by itself or by its guardian's hand. The guardian sees its groups empty, and mostly a
// successor gives back what it held.
func (n *node) die(byItself bool) {
	if !n.up {
		return
	}
	var will *will
	if n.w.chance(n.w.p.Heir) {
		will = n.lastWill(byItself)
	}
	n.crash()
	n.will = will
}

// will is what a dead engine held.
type will struct {
	session  string
	lanes    []lane.Adopted
	byItself bool
}

// lastWill lists what runs. What was started just before is missing at times: it is told now and then, not each time.
func (n *node) lastWill(byItself bool) *will {
	l := &will{session: n.h.Session().ID, byItself: byItself}
	n.h.Each(func(name string, s *lane.State) {
		if s.Busy() && !n.w.chance(.1) {
			l.lanes = append(l.lanes, lane.Adopted{Lane: name, Turn: s.Turn, Job: s.Job(), Fence: s.Fence()})
		}
	})
	return l
}

// inherit gives back what the engine before this one held, if its session still stands.
func (n *node) inherit() {
	l := n.will
	n.will = nil
	if l == nil {
		return
	}
	if r := n.w.byID[l.session]; r != nil && r.seq != 0 && !r.final {
		n.w.note(nil, n.name(), "inherits %d lanes of %s", len(l.lanes), l.session)
		n.h.Adopt(lane.Farewell{Session: l.session, Expect: r.seq}, l.lanes, l.byItself)
	}
}

// vanish ends a life of the node, whatever it was doing; the next one begins after a while.
func (n *node) vanish(back time.Duration) {
	w := n.w
	for len(n.processes) > 0 {
		n.processes[0].remove()
	}
	n.up = false
	n.gen++
	for _, e := range w.lanes {
		// In the order of the lanes, not of the map.
		for _, f := range n.visits[e.name] {
			w.in(time.Minute, f)
		}
	}
	n.visits = nil
	gen := n.gen
	if w.calm {
		back = min(back, time.Second)
	}
	w.in(back, func() {
		if n.gen == gen && !n.up {
			n.start()
		}
	})
}
