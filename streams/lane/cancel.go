package lane

import (
	"slices"
	"time"
)

// CancelState is what Cancel did about a job.
type CancelState uint8

// The states of a cancelled job.
const (
	// CancelAbsent: its lane is not in hand.
	CancelAbsent CancelState = iota
	// CancelNoted: it will not be started in these hands.
	CancelNoted
	// CancelNow: it runs, and is being ended.
	CancelNow
)

// notes are the cancelled jobs of a lane: a lane comes and goes with each turn, and mostly comes back.
type notes struct {
	jobs  []uint64
	until time.Duration
}

const (
	maxCancels = 1000 // that a lane notes; the newest count
	noteFor    = 10 * time.Minute
)

// Cancel ends these jobs of a lane as far as they are in hand, notes them for when the lane comes back, and returns what
// it did about each, in their order. Whoever cancels sees to it that they are gone: the lane may come to others.
func (h *Holder) Cancel(lane string, jobs []uint64) []CancelState {
	h.noted[lane] = notes{jobs: addJobs(h.noted[lane].jobs, jobs), until: h.now + noteFor}
	states := make([]CancelState, len(jobs))
	l := h.lanes[lane]
	if l == nil {
		return states
	}
	for i, seq := range jobs {
		states[i] = CancelNoted
		if l.s.Busy() && l.s.Job() == seq {
			states[i] = CancelNow
		}
	}
	h.step(l, Cancel{Jobs: jobs})
	return states
}

// forgetNotes drops what is old.
func (h *Holder) forgetNotes() {
	for lane, n := range h.noted {
		if h.now >= n.until {
			delete(h.noted, lane)
		}
	}
}

// addJobs returns both, without repetition, in memory of its own.
func addJobs(to, jobs []uint64) []uint64 {
	sum := append(make([]uint64, 0, len(to)+len(jobs)), to...)
	for _, seq := range jobs {
		if !slices.Contains(sum, seq) {
			sum = append(sum, seq)
		}
	}
	return sum[max(0, len(sum)-maxCancels):]
}
