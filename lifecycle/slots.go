package lifecycle

import "sync"

// slotWatch calls a function with the number of slots whenever that changes. Whoever changes it calls tell afterwards,
// without holding the pool's lock; the number is read inside, so that the last call has the last number.
type slotWatch struct {
	mu   sync.Mutex
	f    func(int)
	last int
}

func (w *slotWatch) set(f func(int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.f = f
}

func (w *slotWatch) tell(slots func() int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := slots()
	if n == w.last {
		return
	}
	w.last = n
	if w.f != nil {
		w.f(n)
	}
}

// startable is why a pool may not be started, or nil.
func startable(started, stopped bool) error {
	switch {
	case stopped:
		return ErrStopped
	case started:
		return ErrStarted
	}
	return nil
}

// notStarted is the result of a job that no process has seen.
func notStarted(why string) Result {
	return Result{Cause: NotStarted, Err: shorten(why), GroupEmpty: true}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
