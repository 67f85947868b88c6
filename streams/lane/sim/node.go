package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// node is one worker: a real lane.Holder with the engine that drives it, and its guardian. Each of its lives has a new
// holder.
type node struct {
	w        *world
	idx      int
	gen      int // of its lives; answers to an earlier one are nobody's
	sessions int
	up       bool
	stopping bool
	h        *lane.Holder
	zero     time.Duration // of its clock

	bornAt      time.Duration // its present life
	pausedUntil time.Duration
	inbox       []func() // what came while it was paused
	// The node gets nothing until jamUntil, and is cut off altogether from cutFrom to cutUntil.
	jamUntil, cutFrom, cutUntil time.Duration

	processes []*process
	will      *will               // of the engine before this one
	visits    map[string][]func() // looks of the audit on their way; answered when the lane is dropped
	writes    map[string]*write   // claims on their way, by lane
	serves    bool                // the kind that not everybody serves
}

func (n *node) start() {
	w := n.w
	n.gen++
	n.up, n.stopping = true, false
	n.zero = time.Second + w.upTo(time.Hour)
	n.pausedUntil, n.inbox, n.visits, n.writes = 0, nil, map[string][]func(){}, map[string]*write{}
	n.serves = !w.chance(.3)
	cfg := w.p.Config
	n.h = lane.NewHolder([]lane.Queue{{
		Name: "ci", Config: cfg, Created: created,
		Backoff: func(attempt int) time.Duration { return min(time.Second<<attempt, 8*time.Second) },
	}}, func() string { n.sessions++; return sessionName(n) }, w.rng.Float64)
	n.h.Capacity(w.p.Slots)
	w.note(nil, n.name(), "starts, life %d", n.gen)
	w.showAll(n)
	n.bornAt = w.now
	n.learnPauses()
	n.inherit()
	gen := n.gen
	n.tick(gen)
	n.progress(gen)
}

var nodeNames = [...]string{"h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7"}

func (n *node) name() string { return nodeNames[n.idx] }

// clock is the node's own.
func (n *node) clock() time.Duration { return n.w.now + n.zero }

// cutOff says whether the node is separated from the server.
func (n *node) cutOff() bool { return n.cutFrom <= n.w.now && n.w.now < n.cutUntil }

// believes says whether the node still holds the session.
func (n *node) believes(session string) bool {
	s := n.h.Session()
	return n.up && s.ID == session && s.Phase == lane.SessionStands && n.clock() < s.Until
}

// tick drives the holder's time; while the engine is paused the guardian alone looks at the clock.
func (n *node) tick(gen int) {
	if n.gen != gen || !n.up {
		return
	}
	n.w.in(100*time.Millisecond+n.w.upTo(150*time.Millisecond), func() { n.tick(gen) })
	n.guard()
	if n.gen == gen && n.up && n.w.now >= n.pausedUntil {
		n.do(func() { n.h.Tick() })
	}
}

// progress sends +WPI for every turn in hand.
func (n *node) progress(gen int) {
	if n.gen != gen || !n.up {
		return
	}
	n.w.in(n.w.p.Config.Lease/3, func() { n.progress(gen) })
	if n.w.now < n.pausedUntil {
		return
	}
	n.h.Each(func(name string, s *lane.State) {
		if s.Turn.Seq == 0 || s.Phase == lane.Returning {
			return
		}
		e, seq := n.w.byName[name], s.Turn.Seq
		n.w.call(n, func() func() { n.w.turns.progress(e, seq); return nil }, nil)
	})
}

// post hands something that came to a life of the node: at once, or when it is awake again.
func (n *node) post(gen int, f func()) {
	switch {
	case n.gen != gen || !n.up:
	case n.w.now < n.pausedUntil:
		n.inbox = append(n.inbox, f)
	default:
		n.do(f)
	}
}

// do is one round of the engine's loop.
func (n *node) do(f func()) {
	gen := n.gen
	n.h.At(n.clock(), n.w.wall())
	f()
	n.carry(gen)
	if n.gen == gen && n.up {
		n.h.WantPull()
		n.carry(gen)
	}
}

// carry does what the holder wants done.
func (n *node) carry(gen int) {
	for {
		out := n.h.Take()
		if len(out) == 0 {
			return
		}
		for _, o := range out {
			if n.gen != gen || !n.up {
				return
			}
			n.output(o)
		}
	}
}

func (n *node) output(o lane.Output) {
	w := n.w
	switch {
	case o.Action != nil:
		n.action(w.byName[o.Lane], o.Action)
	case o.Session != nil:
		a := *o.Session
		w.call(n, func() func() {
			if seq := w.writeSession(a); seq != 0 {
				return func() { n.h.SessionStored(a.Op, seq) }
			}
			return func() { n.h.SessionRefused(a.Op) }
		}, nil)
	case o.Dead != nil:
		a := *o.Dead
		w.call(n, func() func() { w.endSession(a.Session, a.Expect, dead); return nil }, nil)
	case o.Farewell != nil:
		a := *o.Farewell
		w.call(n, func() func() { w.endSession(a.Session, a.Expect, farewell); return nil }, nil)
	case o.Pull != nil:
		p, gen := *o.Pull, n.gen
		w.call(n, func() func() { w.turns.pull(n, p); return nil }, nil)
		// The client ends the pull by itself when nothing says so.
		w.in(pullExpiry+500*time.Millisecond, func() { n.post(gen, func() { n.h.PullEnded(p.Op) }) })
	case o.Over != "":
		w.note(nil, n.name(), "session %s is over", o.Over)
	}
}

// action carries out one action of one lane.
func (n *node) action(e *entity, a lane.Action) {
	w := n.w
	if w.keep {
		w.note(e, n.name(), "%s", describeAction(a))
	}
	session := n.h.Session().ID
	tell := func(ev lane.Event) func() {
		return func() {
			if w.keep {
				w.note(e, n.name(), "got %s", describeEvent(ev))
			}
			if d, ok := a.(lane.DeleteJob); ok && ev == (lane.Deleted{Op: d.Op}) && n.believes(session) {
				w.confirmed(e, d.Seq)
			}
			n.h.Lane(e.name, ev)
		}
	}
	ask := func(op lane.Op, serve func() any) {
		w.call(n, func() func() {
			switch ev := serve().(type) {
			case second:
				return func() { n.ours(ev) }
			case lane.Event:
				return tell(ev)
			}
			return nil
		}, tell(lane.Failed{Op: op}))
	}
	switch a := a.(type) {
	case lane.ReadHead:
		ask(a.Op, func() any {
			j, more := w.server.head(e, a.Leader)
			return lane.HeadRead{Op: a.Op, Head: n.headOf(j, more)}
		})
	case lane.ReadRecord:
		ask(a.Op, func() any {
			if w.now < w.server.claimsAwayTo {
				return nil
			}
			c := w.current(e)
			return lane.RecordRead{Op: a.Op, Found: c.seq != 0, Record: c.record, Paused: e.paused}
		})
	case lane.WriteClaim:
		n.writeClaim(e, a, ask)
	case lane.Start:
		n.run(e, a)
	case lane.Kill:
		for _, p := range n.processes {
			if p.lane == e && p.fence == a.Fence {
				p.kill(a.Now)
			}
		}
	case lane.DeleteJob:
		ask(a.Op, func() any {
			w.server.delete(e, a.Seq)
			return lane.Deleted{Op: a.Op}
		})
	case lane.MoveDead:
		j := a.Head.Payload.(*job)
		ask(a.Op, func() any {
			w.server.move(e, j, a.Record, a.Move)
			return lane.Moved{Op: a.Op}
		})
	case lane.MoveLater:
		j := a.Head.Payload.(*job)
		ask(a.Op, func() any {
			w.server.moveLater(e, j, a.Record)
			return lane.Moved{Op: a.Op}
		})
	case lane.EndTurn:
		ask(a.Op, func() any {
			if w.chance(w.p.Snipe) && !w.calm {
				w.publishOn(e, true)
			}
			w.turns.ack(e, a.Turn.Seq)
			return lane.Ended{Op: a.Op}
		})
	case lane.NakTurn:
		ask(a.Op, func() any {
			w.turns.nak(e, a.Turn.Seq, a.Delay)
			return lane.Returned{Op: a.Op}
		})
	case lane.PublishTurn:
		ask(a.Op, func() any {
			w.turns.publish(e, a.Guess, n.name())
			return lane.Published{Op: a.Op}
		})
	case lane.Drop:
		delete(n.visits, e.name)
		delete(n.writes, e.name)
	}
}

// headOf is what the engine makes of a message of JOBS.
func (n *node) headOf(j *job, more bool) lane.Head {
	if j == nil {
		return lane.Head{}
	}
	h := lane.Head{Found: true, Seq: j.seq, More: more, Counts: j.counts, Payload: j}
	switch j.kind {
	case invalid:
		h.Invalid = "header Job-Timeout: no duration"
	case unserved:
		h.Unserved = !n.serves && !n.w.calm
	}
	return h
}
