package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// watcher follows who leads what.
type watcher struct {
	r    *rig.Rig
	mu   sync.Mutex
	seen []Lead
	stop context.CancelFunc
	done chan struct{}
}

func watch(r *rig.Rig) *watcher {
	ctx, stop := context.WithCancel(context.Background())
	w := &watcher{r: r, stop: stop, done: make(chan struct{})}
	nc := r.Everywhere()
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			for i, g := range rig.Rafts() {
				w.note(ctx, nc, i, g)
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return w
}

func (w *watcher) note(ctx context.Context, nc []*nats.Conn, i int, g rig.Raft) {
	now := w.r.Leader(ctx, nc, g)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for j := len(w.seen) - 1; j >= 0; j-- {
		if w.seen[j].Of == g.String() {
			if w.seen[j].Server == now {
				return
			}
			break
		}
	}
	w.seen = append(w.seen, Lead{Of: g.String(), Office: Office(i + 1), Server: now, T: record.Now()})
}

// end returns the changes.
func (w *watcher) end() []Lead {
	w.stop()
	<-w.done
	return w.seen
}
