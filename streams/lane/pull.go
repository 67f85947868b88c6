package lane

import (
	"math"
	"time"
)

// patience is how long a queue that is said to have turns may let a pull wait before the others are asked too. Turns
// that wait come within milliseconds; somebody else may have taken them.
const patience = 200 * time.Millisecond

// preference is what the holder counts of one queue to share its slots out among several.
type preference struct {
	weight int // 0: the order of the queues decides

	// pass is how much of its share the queue has had: a start adds 1/weight. Of the queues that have turns waiting the
	// one with the least is next, so over time the starts are as the weights.
	pass float64

	used    int // slots
	opening int // of these, the slots of lanes whose job was not started yet
	// permitless are the lanes that wait in hand for a permit.
	permitless int

	waits bool          // as far as known it has turns that nobody took
	heard time.Duration // when it last brought a turn, or was asked after a silence

	// startable, when it is set, says how many further jobs of the queue a limit allows now, with so many slots free; more
	// turns are better left where they are.
	startable func(slots int) int
}

// room is how many more turns are of use, as far as limits go.
func (q *queue) room(slots int) int {
	if q.startable == nil {
		return math.MaxInt32
	}
	return q.startable(slots) - q.opening - q.asked
}

// Delivered takes a turn that pull op brought; pending is how many more the server has.
func (h *Holder) Delivered(lane string, t Turn, op Op, pending int) {
	q := h.queueOf(lane)
	if q == nil {
		return
	}
	if n, ok := q.pulls[op]; ok {
		q.asked--
		if n > 1 {
			q.pulls[op] = n - 1
		} else {
			delete(q.pulls, op)
		}
	}
	q.othersWait, q.waitingAt = pending > 0, h.now
	q.view.OthersWait = q.othersWait
	q.view.NoSlot = h.used >= h.capacity
	h.waiting(q, pending > 0 || q.view.NoSlot)
	q.heard = h.now
	h.Lane(lane, Delivered{Turn: t})
	q.view.NoSlot = false
}

// waiting notes whether a queue has turns that nobody took. One that had none for a while has no claim to what it did
// not use then.
func (h *Holder) waiting(q *queue, waits bool) {
	if waits && !q.waits {
		least := math.Inf(1)
		for _, o := range h.queues {
			if o != q && (o.waits || o.used > 0) {
				least = min(least, o.pass)
			}
		}
		if !math.IsInf(least, 1) {
			q.pass = max(q.pass, least)
		}
	}
	q.waits = waits
}

// PullEnded: the pull brings no more.
func (h *Holder) PullEnded(op Op) {
	for _, q := range h.queues {
		if n, ok := q.pulls[op]; ok {
			q.asked -= n
			q.waits = false // or it would have brought more
			delete(q.pulls, op)
		}
	}
}

// occupied counts what a lane's step did to slots and shares; slot, busy and permitless are what was before it.
func (h *Holder) occupied(l *held, slot, busy, permitless bool) {
	q, now, runs := l.q, l.s.slot, l.s.Busy()
	h.used += toInt(now) - toInt(slot)
	q.used += toInt(now) - toInt(slot)
	q.permitless += toInt(l.s.awaitsPermit()) - toInt(permitless)
	if opens, opened := now && !runs, slot && !busy; opens != opened {
		q.opening += toInt(opens) - toInt(opened)
		switch {
		case q.view.Gate == nil:
		case opens:
			q.view.Gate.Enter(l.typ)
		default:
			q.view.Gate.Leave(l.typ)
		}
	}
	if runs && !busy && q.weight > 0 {
		q.pass += 1 / float64(q.weight)
	}
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// WantPull asks for turns if there are free slots; the driver calls it after a batch of events. Queues that are known to
// have turns waiting share the slots: in strict order the first takes all, with weights each its part. What they leave
// is asked of all the others at once: what comes on top of the slots is given back, which costs less than letting a
// slot stand idle beside a turn. When they leave nothing, the others are asked for a single turn, to learn whether they
// have any; in strict order only those that are preferred.
func (h *Holder) WantPull() {
	if h.quiet || h.draining || h.session.Phase != SessionStands || h.now >= h.session.Until {
		return
	}
	free := h.capacity - h.used
	if free <= 0 {
		return
	}
	var space [8]int
	ask := append(space[:0], make([]int, len(h.queues))...)
	left, last := free, -1
	for i, q := range h.queues {
		if q.waits && q.asked > 0 && h.now >= q.heard+patience {
			q.waits = false
		}
		if q.waits && !q.halt {
			left -= q.asked
			last = i
		}
	}
	for ; left > 0; left-- {
		i := h.turnOf(ask, free)
		if i < 0 {
			break
		}
		ask[i]++
	}
	for i, q := range h.queues {
		if q.halt {
			continue
		}
		n := ask[i]
		if !q.waits {
			switch {
			case left > 0:
				n = left - q.asked
			case q.asked == 0 && (q.weight > 0 || i < last):
				n = 1
			}
			n = min(n, q.room(free))
		}
		if n > 0 {
			h.pull(q, n)
		}
	}
}

// turnOf says which of the queues with turns waiting is to be asked next, with so many slots free; ask is what this
// round asks of each already. -1 is none.
func (h *Holder) turnOf(ask []int, free int) int {
	best, least := -1, 0.0
	for i, q := range h.queues {
		if !q.waits || q.halt || q.room(free) <= ask[i] {
			continue
		}
		if q.weight == 0 {
			return i
		}
		// What is on its way to its start will be counted when it starts.
		if p := q.pass + float64(q.opening+q.asked+ask[i])/float64(q.weight); best < 0 || p < least {
			best, least = i, p
		}
	}
	return best
}

func (h *Holder) pull(q *queue, n int) {
	if q.asked == 0 {
		q.heard = h.now
	}
	h.lastPull++
	q.pulls[h.lastPull] = n
	q.asked += n
	h.out = append(h.out, Output{Pull: &Pull{Queue: q.name, Op: h.lastPull, N: n}})
}
