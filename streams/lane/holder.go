package lane

import (
	"strings"
	"time"
)

// Output is something that a Holder wants done. Exactly one field is set.
type Output struct {
	// Lane and Action: a lane's action.
	Lane   string
	Action Action
	// Session: write the own session's record.
	Session *WriteSession
	// Dead: declare another's session dead.
	Dead *WriteDead
	// Farewell: say goodbye for a session whose groups are empty and whose claims are given back.
	Farewell *Farewell
	// Pull asks for turns, at most as many as there are free slots.
	Pull *Pull
	// Over names the session that has just ended; the lanes got their own actions.
	Over string
}

// Farewell ends a session's record by compare-and-set.
type Farewell struct {
	Session string
	Expect  uint64
}

// Pull asks for up to N turns of a queue. Op comes back with each delivery and with the end of the pull.
type Pull struct {
	Queue string
	Op    Op
	N     int
}

// Holder joins the machines of one worker: its lanes, its slots and pulls, its session and its view of the others'. A
// lane's name is <queue>.<type>.<id>, the end of its subjects. It is not safe for concurrent use: one goroutine owns
// it. It does nothing by itself; what it wants done is taken with Take after each call.
type Holder struct {
	cfg     Config // of the session: the shortest lease of its queues
	queues  []*queue
	now     time.Duration
	session Session
	obs     *Observer
	newID   func() string

	lanes map[string]*held
	order []*held // the same lanes, in an order that depends on the events alone

	capacity int
	used     int
	lastPull Op
	// lastOp is the highest number that a lane which is no longer in hand has used. A lane that comes again goes on from
	// there: an answer to a question of its earlier turn must not look like one to a question of this turn.
	lastOp Op

	quiet, draining, stopped bool

	noted map[string]notes
	// suspects are the jobs that run and are one loss short of dead.
	suspects int

	old []Farewell // sessions that are over and not yet said goodbye for

	out     []Output
	actions []Action
}

type held struct {
	name string
	typ  string
	at   int
	q    *queue
	s    State
}

// queue is what the holder knows of one queue that it serves.
type queue struct {
	name  string
	view  View
	pulls map[Op]int
	asked int // turns asked for and not yet come

	paused map[string]bool // lanes, by their name
	halt   bool            // the whole queue is paused

	othersWait bool // the server had more turns at the last delivery
	waitingAt  time.Duration

	preference
}

// Queue is one queue that a holder serves.
type Queue struct {
	Name string
	Config
	// Created is the creation time of JOBS (Unix nanoseconds).
	Created int64
	// Backoff is the queue's delay after a failed attempt.
	Backoff func(attempt int) time.Duration
	// Weight is the queue's share of the starts while several queues have turns waiting; all have one, or none. With 0
	// the order of the queues decides.
	Weight int
	// Gate grants permits for the queue's jobs; nil is no limits.
	Gate Gate
	// Worker is the holder's id, which stands in its claims for people.
	Worker string
}

// NewHolder is a holder without a session; the first Tick begins one, under an id from newID. The queues are in order
// of preference; random is in [0,1).
func NewHolder(queues []Queue, newID func() string, random func() float64) *Holder {
	h := &Holder{cfg: queues[0].Config, obs: NewObserver(), newID: newID, lanes: map[string]*held{}, noted: map[string]notes{}}
	for _, q := range queues {
		if q.Lease < h.cfg.Lease {
			h.cfg = q.Config
		}
		served := &queue{
			name: q.Name, pulls: map[Op]int{}, paused: map[string]bool{},
			preference: preference{weight: q.Weight},
			view:       View{Config: q.Config, Created: q.Created, Random: random, Backoff: q.Backoff, Dead: h.dead, Gate: q.Gate, Worker: q.Worker},
		}
		if q.Gate != nil {
			served.startable = q.Gate.Startable
		}
		h.queues = append(h.queues, served)
	}
	return h
}

// Created tells that a queue's JOBS has this creation time: it may have been made anew.
func (h *Holder) Created(name string, created int64) {
	if q := h.queue(name); q != nil {
		q.view.Created = created
	}
}

func (h *Holder) queue(name string) *queue {
	for _, q := range h.queues {
		if q.name == name {
			return q
		}
	}
	return nil
}

// queueOf is the queue of a lane; nil when the holder does not serve it.
func (h *Holder) queueOf(lane string) *queue {
	name, _, _ := strings.Cut(lane, ".")
	return h.queue(name)
}

// dead is the lanes' view of other sessions. A session without a record starts being watched when a claim names it.
func (h *Holder) dead(session string) bool {
	h.obs.Miss(session, h.now)
	if h.cfg.Broken.Off(RuleDeadFirst) && h.obs.Silent(session, &h.cfg, h.now) {
		return true
	}
	return h.obs.Dead(session)
}

// Take returns what is to be done, in order, and forgets it. The slice is reused by the next call.
func (h *Holder) Take() []Output {
	out := h.out
	h.out = h.out[len(h.out):]
	if cap(h.out) < 64 {
		h.out = make([]Output, 0, 1024)
	}
	return out
}

// At sets the clocks for the calls that follow: the holder's own, and the server's as well as it is known. A session whose
// time is up is over before anything else is looked at: what lay in the inbox of a holder that was paused must find it so.
func (h *Holder) At(now time.Duration, server time.Time) {
	h.now = now
	for _, q := range h.queues {
		q.view.Now, q.view.ServerNow = now, server
		if q.view.Gate != nil {
			q.view.Gate.At(now)
		}
		q.view.OthersWait = q.othersWait || now-q.waitingAt > time.Second
	}
	h.viewSession()
	if h.session.Phase == SessionStands && now >= h.session.Until {
		h.session = h.session.end()
		h.over()
	}
}

// viewSession shows the lanes the session that stands.
func (h *Holder) viewSession() {
	for _, q := range h.queues {
		q.view.Session, q.view.Until = "", 0
		if h.session.Phase == SessionStands {
			q.view.Session, q.view.Until = h.session.ID, h.session.Until
		}
		if q.view.Gate != nil {
			q.view.Gate.Session(q.view.Session)
		}
	}
}

// Session returns the own session.
func (h *Holder) Session() Session { return h.session }

// Lanes is the number of lanes in hand.
func (h *Holder) Lanes() int { return len(h.order) }

// Used is the number of slots in use.
func (h *Holder) Used() int { return h.used }

// Running lists the lanes of which a process may be alive.
func (h *Holder) Running() []string {
	var names []string
	for _, l := range h.order {
		if l.s.Busy() {
			names = append(names, l.name)
		}
	}
	return names
}

// Each calls f for every lane in hand.
func (h *Holder) Each(f func(lane string, s *State)) {
	for _, l := range h.order {
		f(l.name, &l.s)
	}
}

// Lane tells what happened to a lane. An event for a lane that is not in hand is late and means nothing, but for a
// delivery.
func (h *Holder) Lane(lane string, e Event) {
	l := h.lanes[lane]
	if l == nil {
		switch e.(type) {
		case Delivered, Visit, adopted:
			q := h.queueOf(lane)
			if q == nil {
				return
			}
			l = &held{name: lane, typ: typeOf(lane), at: len(h.order), q: q, s: State{lastOp: h.lastOp, cancels: h.noted[lane].jobs}}
			h.lanes[lane] = l
			h.order = append(h.order, l)
		default:
			return
		}
	}
	h.step(l, e)
}

func (h *Holder) step(l *held, e Event) {
	slot, busy, permitless := l.s.slot, l.s.Busy(), l.s.awaitsPermit()
	l.q.view.Paused, l.q.view.Type = l.q.paused[l.name], l.typ
	wasSuspect := busy && l.s.suspected(&l.q.view)
	l.q.view.Suspect = h.suspects-toInt(wasSuspect) > 0
	l.s, h.actions = Next(l.s, e, &l.q.view, h.actions[:0])
	h.occupied(l, slot, busy, permitless)
	h.suspects += toInt(l.s.Busy() && l.s.suspected(&l.q.view)) - toInt(wasSuspect)
	if !l.s.Busy() {
		l.returnPermit()
	}
	for _, a := range h.actions {
		switch a.(type) {
		case Drop:
			h.remove(l)
			if l.s.remains {
				h.old = nil // a session with such a lane never says goodbye
			}
		case FreeSlot:
			continue
		}
		h.out = append(h.out, Output{Lane: l.name, Action: a})
	}
}

func (h *Holder) remove(l *held) {
	last := h.order[len(h.order)-1]
	h.order[l.at], last.at = last, l.at
	h.order = h.order[:len(h.order)-1]
	delete(h.lanes, l.name)
	h.lastOp = max(h.lastOp, l.s.lastOp)
}

// all gives every lane an event; lanes may be dropped meanwhile.
func (h *Holder) all(e Event) {
	for i := len(h.order) - 1; i >= 0; i-- {
		h.step(h.order[i], e)
	}
}

// Capacity sets how many jobs may run at once.
func (h *Holder) Capacity(n int) { h.capacity = n }

// Quiet stops, or resumes, the taking of jobs; what runs goes on. Lanes that have not started are given back, those of
// pulls still on their way too, and slices end after their job.
func (h *Holder) Quiet(on bool) {
	h.quiet = on
	h.drains()
}

// Drain stops pulling and starting: lanes that have not started are given back, slices end after their job.
func (h *Holder) Drain() {
	h.draining = true
	h.drains()
}

func (h *Holder) drains() {
	for _, q := range h.queues {
		q.view.Draining = h.quiet || h.draining || q.halt
	}
}

// StopLanes ends what runs and hands everything back. Asked again it kills at once.
func (h *Holder) StopLanes() { h.all(Stop{}) }

// Visit looks whether a lane lacks a turn, unless it is in hand: then its own end will. It reports whether a Drop for
// the lane will follow.
func (h *Holder) Visit(lane string, v Visit) bool {
	if h.lanes[lane] != nil {
		return false
	}
	h.Lane(lane, v)
	return true
}

// Tick lets time pass: requests are sent again, claims and the session are rewritten, and silent sessions declared dead.
func (h *Holder) Tick() {
	next, writes, over := h.session.Tick(&h.cfg, h.now)
	h.session = next
	if over {
		h.over()
	}
	h.write(writes)
	if h.session.Phase == SessionNone && !h.stopped && (len(h.Running()) == 0 || h.cfg.Broken.Off(RuleKillAtEnd)) {
		h.session, writes = h.session.Begin(h.newID(), &h.cfg, h.now)
		h.write(writes)
	}
	h.all(Tick{})
	h.forgetNotes()
	if h.session.Phase == SessionStands {
		for _, d := range h.obs.Tick(h.session.ID, &h.cfg, h.now) {
			h.out = append(h.out, Output{Dead: &d})
		}
		h.sayGoodbye()
	}
}

// ClaimUntil is when the claim of a lane that runs under this fence is over, less the margin; 0 is never. It is false
// when the lane runs something else.
func (h *Holder) ClaimUntil(lane string, fence uint64) (time.Duration, bool) {
	l := h.lanes[lane]
	if l == nil || l.s.fence != fence {
		return 0, false
	}
	return l.s.ClaimUntil(l.q.view.ClaimMargin()), true
}
