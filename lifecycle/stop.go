package lifecycle

import (
	"context"
	"errors"
	"sync"
)

// stopper is how far the stop of a pool has come. Each channel is closed once: asked (finish what runs), term (TERM and
// after a grace KILL), kill (KILL now), and done, by the pool, when all its groups are gone.
type stopper struct {
	asked, term, kill, done            chan struct{}
	askOnce, termOnce, killOnce, doneN sync.Once
}

func newStopper() *stopper {
	return &stopper{
		asked: make(chan struct{}), term: make(chan struct{}), kill: make(chan struct{}), done: make(chan struct{}),
	}
}

// stop asks, makes haste when ctx ends, and returns when the pool is done. Any goroutine, any number of times.
func (s *stopper) stop(ctx context.Context) {
	s.askOnce.Do(func() { close(s.asked) })
	select {
	case <-s.done:
		return
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), ErrKillNow) {
		s.killOnce.Do(func() { close(s.kill) })
	} else {
		s.termOnce.Do(func() { close(s.term) })
	}
	<-s.done
}

func (s *stopper) finished() { s.doneN.Do(func() { close(s.done) }) }
