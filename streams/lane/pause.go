package lane

// Pause tells that an operator has paused a lane, or resumed it. What runs goes on; the lane's turn is ended when it
// comes, because a paused lane has none. It may be told late: the look after the end asks the store itself.
func (h *Holder) Pause(lane string, on bool) {
	q := h.queueOf(lane)
	switch {
	case q == nil:
	case on:
		q.paused[lane] = true
	default:
		delete(q.paused, lane)
	}
}

// PauseQueue tells that an operator has paused a whole queue, or resumed it: its turns stay where they are, and what has
// not started is given back.
func (h *Holder) PauseQueue(name string, on bool) {
	if q := h.queue(name); q != nil {
		q.halt = on
		h.drains()
	}
}

// Paused is the number of lanes of a queue that are paused one by one.
func (h *Holder) Paused(name string) int {
	if q := h.queue(name); q != nil {
		return len(q.paused)
	}
	return 0
}

// LanePaused says whether a lane is paused as far as the holder was told.
func (h *Holder) LanePaused(lane string) bool {
	q := h.queueOf(lane)
	return q != nil && q.paused[lane]
}
