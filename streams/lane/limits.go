package lane

import "time"

// Limits are what a queue's policy may change while its workers run. The lease is not among them: a session counts with
// the lease that stands in its record, for all its life.
type Limits struct {
	MaxAttempts, MaxCrashes, MaxLost int
	Pass, Halt                       bool
	Backoff                          func(attempt int) time.Duration
}

// SetLimits changes the limits of a queue, and says whether its streams have more than one copy by now.
func (h *Holder) SetLimits(name string, l Limits, replicated bool) {
	if q := h.queue(name); q != nil {
		q.view.MaxAttempts, q.view.MaxCrashes, q.view.MaxLost = l.MaxAttempts, l.MaxCrashes, l.MaxLost
		q.view.Pass, q.view.Halt = l.Pass, l.Halt
		q.view.Backoff, q.view.Replicated = l.Backoff, replicated
	}
}
