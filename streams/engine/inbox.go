package engine

import (
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams/lane"
)

// item is something that reached the loop from outside. One of its fields is set.
type item struct {
	// msg answers request number n, or came in for pull p.
	msg *nats.Msg
	n   uint64
	p   *pull
	// failed says that request n could not even be sent.
	failed bool
	// done is a finished run.
	done *run
	out  lane.Outcome
	// do is a call that the loop makes between two batches.
	do func()
}

// inbox gathers items for the loop. Put may be called by any goroutine and never blocks: what comes in is bounded by
// what the loop asked for.
type inbox struct {
	mu    sync.Mutex
	items []item
	spare []item
	wake  chan struct{}
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) put(it item) {
	b.mu.Lock()
	b.items = append(b.items, it)
	first := len(b.items) == 1
	b.mu.Unlock()
	if first {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// take returns all items; the slice is valid until the next call.
func (b *inbox) take() []item {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	clear(b.spare)
	b.items, b.spare = b.spare[:0], items
	return items
}
