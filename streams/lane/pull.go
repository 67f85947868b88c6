package lane

import (
	"strings"
	"time"
)

// Delivered takes a turn that pull op brought; pending is how many more the server has.
func (h *Holder) Delivered(lane string, t Turn, op Op, pending int) {
	name, _, _ := strings.Cut(lane, ".")
	q := h.queue(name)
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
	h.Lane(lane, Delivered{Turn: t})
	q.view.NoSlot = false
}

// PullEnded: the pull brings no more.
func (h *Holder) PullEnded(op Op) {
	for _, q := range h.queues {
		q.asked -= q.pulls[op]
		delete(q.pulls, op)
	}
}

// WantPull asks for turns if there are free slots; the driver calls it after a batch of events. With several queues
// each is asked for all free slots, unless one that is preferred is known to have turns waiting: what comes on top of
// the slots is given back at once, which costs less than letting a slot stand idle beside a turn.
func (h *Holder) WantPull() {
	if h.quiet || h.draining || h.session.Phase != SessionStands || h.now >= h.session.Until {
		return
	}
	for _, q := range h.queues {
		free := h.capacity - h.used - q.asked
		if free <= 0 {
			continue
		}
		h.lastPull++
		q.pulls[h.lastPull] = free
		q.asked += free
		h.out = append(h.out, Output{Pull: &Pull{Queue: q.name, Op: h.lastPull, N: free}})
		if q.othersWait && h.now-q.waitingAt < time.Second {
			return
		}
	}
}
