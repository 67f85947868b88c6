package streams

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// KeyTold is what a KeyWatch tells, one after another from one goroutine of its own: neither may call Stop.
type KeyTold struct {
	// Key is told of each key that there is, and then of each change; of what stands there again now and then. It says
	// whether the key is there, for Listed.
	Key func(jetstream.KeyValueEntry) bool
	// Listed is told, whenever all that stands has come, which keys that is: any other is gone, perhaps without a word.
	Listed func(there map[string]bool)
}

// KeyWatch follows the keys of a bucket until Stop.
//
// The client's own watch mends itself only as far as the stream is the same: it ends for good when its consumer cannot be
// made again just then, it waits for sequences that a stream that was made anew has not reached, and the word that a key is
// gone is kept for a bounded time. So it is made anew now and then, whenever the connection returns, when the bucket was
// made anew, and when somebody has a reason to.
type KeyWatch struct {
	nc     *nats.Conn
	kv     jetstream.KeyValue
	told   KeyTold
	want   chan struct{}
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

const (
	keyRelist = 5 * time.Minute
	keyRetry  = 500 * time.Millisecond
	// keyLook is how often it is seen whether the bucket still is the same one.
	keyLook = 10 * time.Second
	// drainBound bounds the end of a watch whose connection tells nothing any more.
	drainBound = time.Second
)

// WatchKeys begins to follow a bucket. The error is that of the first look. It ends by Stop alone; ctx bounds only the
// beginning.
func WatchKeys(ctx context.Context, nc *nats.Conn, kv jetstream.KeyValue, told KeyTold) (*KeyWatch, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &KeyWatch{nc: nc, kv: kv, told: told, want: make(chan struct{}, 1), cancel: cancel}
	made := made(ctx, kv)
	first, err := kv.WatchAll(life)
	if err != nil {
		cancel()
		return nil, err
	}
	w.tasks.Go(func() { w.run(life, first) })
	w.tasks.Go(func() { w.look(life, made) })
	return w, nil
}

// Stop ends the watch. Nothing is told any more once it has returned. It may be called twice.
func (w *KeyWatch) Stop() {
	w.cancel()
	w.tasks.Wait()
}

// Anew has all that stands told again soon. Any goroutine; it never blocks.
func (w *KeyWatch) Anew() {
	select {
	case w.want <- struct{}{}:
	default:
	}
}

// made is when a bucket was made, or nothing when that cannot be told just now.
func made(ctx context.Context, kv jetstream.KeyValue) time.Time {
	ctx, cancel := bounded(ctx)
	defer cancel()
	is, err := kv.Status(ctx)
	if err != nil {
		return time.Time{}
	}
	if b, ok := is.(*jetstream.KeyValueBucketStatus); ok {
		return b.StreamInfo().Created
	}
	return time.Time{}
}

// look has all told again when the bucket was made anew. While it is away nobody tells so: the watch waits.
func (w *KeyWatch) look(ctx context.Context, known time.Time) {
	for Pause(ctx, keyLook/2+rand.N(keyLook)) == nil {
		is := made(ctx, w.kv)
		if is.IsZero() || is.Equal(known) {
			continue
		}
		if !known.IsZero() {
			w.Anew()
		}
		known = is
	}
}

func (w *KeyWatch) run(ctx context.Context, watcher jetstream.KeyWatcher) {
	back := w.nc.StatusChanged(nats.CONNECTED)
	defer w.nc.RemoveStatusListener(back)
	for {
		if watcher != nil {
			w.follow(ctx, watcher, back)
			end(watcher)
		}
		if ctx.Err() != nil {
			return
		}
		var err error
		if watcher, err = w.kv.WatchAll(ctx); err != nil {
			watcher = nil
			if Pause(ctx, keyRetry) != nil {
				return
			}
		}
	}
}

// end stops a watcher. It may be about to tell something, which it does under a lock that its own end needs.
func end(watcher jetstream.KeyWatcher) {
	_ = watcher.Stop() // the connection may be closed, and the server forgets it by itself
	bound := time.NewTimer(drainBound)
	defer bound.Stop()
	for {
		select {
		case _, ok := <-watcher.Updates():
			if !ok {
				return
			}
		case <-bound.C:
			return
		}
	}
}

// follow tells what one watcher brings until that is over: by ctx, by a new connection, or because it is time.
func (w *KeyWatch) follow(ctx context.Context, watcher jetstream.KeyWatcher, back <-chan nats.Status) {
	anew := time.NewTimer(keyRelist/2 + rand.N(keyRelist))
	defer anew.Stop()
	there := map[string]bool{} // until all that stood there has come
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-back:
			if !open {
				back = nil // the connection was closed; Stop will follow
				continue
			}
			return
		case <-w.want:
			return
		case <-anew.C:
			return
		case entry, ok := <-watcher.Updates():
			switch {
			case !ok:
				return
			case entry != nil:
				if w.told.Key(entry) && there != nil {
					there[entry.Key()] = true
				}
			case there != nil:
				w.told.Listed(there)
				there = nil
			}
		}
	}
}
