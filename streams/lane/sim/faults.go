package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// startFaults plans what goes wrong.
func (w *world) startFaults() {
	holders := time.Duration(w.p.Holders)
	some := func(f func(n *node)) func() {
		return func() {
			if n := w.nodes[w.rng.IntN(len(w.nodes))]; n.up {
				f(n)
			}
		}
	}
	w.plan(w.p.CutEvery/holders, some((*node).cut))
	w.plan(w.p.PauseEvery/holders, some((*node).pause))
	w.plan(w.p.KillEvery/holders, some((*node).crash))
	w.plan(w.p.DieEvery/holders, some(func(n *node) { n.die(true) }))
	w.plan(w.p.StopEvery/holders, some((*node).stop))
	w.plan(w.p.RestartEvery, w.restart)
	w.plan(w.p.StepDownEvery, w.stepDown)
	w.plan(w.p.BlackoutEvery, w.blackout)
	w.plan(w.p.ClaimsDownEvery, w.claimsAway)
	w.plan(w.p.PurgeEvery, w.turns.purge)
}

// blackout kills everybody, for longer than claims and session records are kept.
func (w *world) blackout() {
	w.note(nil, "world", "blackout")
	for _, n := range w.nodes {
		if n.up {
			w.stats.Kills++
			n.vanish(w.upTo(w.p.BlackoutMax))
		}
	}
}

// cut separates a node from the server for a while. Sometimes only what is sent to it is held up first.
func (n *node) cut() {
	w := n.w
	if w.now < n.cutUntil {
		return
	}
	w.stats.Cuts++
	n.cutFrom = w.now
	if w.chance(w.p.Jam) {
		n.jamUntil = w.now + w.upTo(w.p.JamMax)
		n.cutFrom = n.jamUntil
	}
	n.cutUntil = n.cutFrom + w.upTo(w.p.CutMax)
	w.note(nil, n.name(), "gets nothing until %v, cut off until %v", n.cutFrom, n.cutUntil)
	gen := n.gen
	w.at(n.cutUntil, func() {
		if n.gen == gen && n.up {
			w.showAll(n)
		}
	})
}

// pause stops the engine; the jobs run on.
func (n *node) pause() {
	w := n.w
	if w.now < n.pausedUntil {
		return
	}
	w.stats.Pauses++
	n.pausedUntil = w.now + w.upTo(w.p.PauseMax)
	w.note(nil, n.name(), "paused until %v", n.pausedUntil)
	gen := n.gen
	w.at(n.pausedUntil, func() { n.wake(gen) })
}

// wake lets the engine go on with what came meanwhile: nobody knows whether it looks at its clock first.
func (n *node) wake(gen int) {
	if n.gen != gen || !n.up || n.w.now < n.pausedUntil {
		return
	}
	n.w.note(nil, n.name(), "goes on, %d in its inbox", len(n.inbox))
	if n.w.chance(.5) {
		n.do(func() { n.h.Tick() })
	}
	inbox := n.inbox
	n.inbox = nil
	n.w.rng.Shuffle(len(inbox), func(i, j int) { inbox[i], inbox[j] = inbox[j], inbox[i] })
	for _, f := range inbox {
		n.post(gen, f)
	}
}

// guard is the guardian: it does what a paused engine cannot. Past the session's end it kills all groups and mostly the
// engine too; past a claim's it kills that group.
func (n *node) guard() {
	w := n.w
	if !w.p.Guardian || w.now >= n.pausedUntil || w.p.Config.Broken.Off(lane.RuleKillAtEnd) {
		return
	}
	if s := n.h.Session(); s.Phase == lane.SessionStands && n.clock() >= s.Until {
		for _, p := range append([]*process(nil), n.processes...) {
			p.kill(true)
		}
		if w.chance(.1) {
			n.die(false)
		}
		return
	}
	n.h.Each(func(name string, s *lane.State) {
		until := s.ClaimUntil(w.p.Config.ClaimMargin())
		if until == 0 || n.clock() < until || !s.Busy() || w.p.Config.Broken.Off(lane.RuleLongClaims) {
			return
		}
		for _, p := range append([]*process(nil), n.processes...) {
			if p.lane.name == name {
				p.kill(true)
			}
		}
	})
}

// stop is a clean stop: drain, end what still runs, hand everything back, say goodbye.
func (n *node) stop() {
	w := n.w
	if n.stopping {
		return
	}
	w.stats.Stops++
	n.stopping = true
	w.note(nil, n.name(), "stops")
	gen := n.gen
	n.post(gen, n.h.Drain)
	w.in(w.upTo(6*time.Second), func() { n.post(gen, n.h.StopLanes) })
	if w.chance(.3) {
		w.in(w.upTo(12*time.Second), func() { n.post(gen, n.h.StopLanes) })
	}
	w.in(30*time.Second, func() {
		if n.gen == gen {
			n.crash()
		}
	})
	n.leave(gen)
}

// leave says goodbye as soon as no lane is left.
func (n *node) leave(gen int) {
	w := n.w
	if n.gen != gen || !n.up {
		return
	}
	w.in(100*time.Millisecond, func() { n.leave(gen) })
	if w.now < n.pausedUntil || n.h.Lanes() > 0 || len(n.processes) > 0 {
		return
	}
	f, ok := n.h.Goodbye()
	if !ok {
		return
	}
	w.call(n, func() func() { w.endSession(f.Session, f.Expect, farewell); return nil }, nil)
	w.note(nil, n.name(), "has stopped")
	n.vanish(w.upTo(3 * time.Second))
}

// heal ends all faults; from here on only time is needed.
func (w *world) heal() {
	w.calm = true
	w.server.claimsAwayTo = 0
	w.note(nil, "world", "faults stop")
	for _, n := range w.nodes {
		if !n.up {
			gen := n.gen
			w.in(w.upTo(time.Second), func() {
				if n.gen == gen && !n.up {
					n.start()
				}
			})
		}
		n.cutUntil, n.jamUntil = w.now, w.now
		if n.up {
			w.showAll(n)
			if n.pausedUntil > w.now {
				n.pausedUntil = w.now
				n.wake(n.gen)
			}
		}
		for _, p := range n.processes {
			if p.job.kind != poison {
				w.in(w.upTo(time.Second), func() { p.end(lane.CauseDone) })
			}
		}
	}
	for _, e := range w.lanes {
		if e.paused {
			w.resume(e)
		}
	}
	w.in(w.p.Bound, w.checkEnd)
	w.watchEmpty()
}

// watchEmpty ends the history as soon as nothing is left to do.
func (w *world) watchEmpty() {
	left := w.waiting > 0
	for _, e := range w.lanes {
		left = left || len(e.jobs) > 0
	}
	if left {
		w.in(500*time.Millisecond, w.watchEmpty)
		return
	}
	w.ended = true
}
