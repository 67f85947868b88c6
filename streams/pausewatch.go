package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/subjects"
)

// PausedChange is something that a watch of pauses tells: of a lane, or of the whole queue when Queue is true.
type PausedChange struct {
	Queue  bool
	Entity subjects.Entity
	// Paused: it is paused from now on, as Record says. Otherwise it was, and is no more: by a command, or because the
	// pause was bounded. After such an end nobody may have given the lane a turn.
	Paused bool
	Record PauseRecord
	// Key and Value are of a key that is neither a lane's nor the queue's, and begins with =; a nil Value means that it is
	// gone. Revision is that of the key, when it is there.
	Key      string
	Value    []byte
	Revision uint64
	// Complete says that what was paused when the watch began has all been told, and nothing else; it comes once.
	Complete bool
}

// PausedWatch follows the pauses of a queue until Stop.
type PausedWatch struct {
	js     jetstream.JetStream
	q      subjects.Queue
	kv     jetstream.KeyValue
	tell   func(PausedChange)
	cancel context.CancelFunc
	done   chan struct{}

	// Of its goroutine.
	known    map[string]PausedChange
	complete bool
}

const (
	// A watch is made anew now and then, and whenever the connection returns: the word that a pause is over is kept for
	// a bounded time, and a stream may have been made anew.
	pausedRelist = 5 * time.Minute
	pausedRetry  = 500 * time.Millisecond
	// drainBound bounds the end of a watch whose connection tells nothing any more.
	drainBound = time.Second
)

// WatchPaused begins to tell what is paused, and then each change, one after another from one goroutine of its own:
// tell must not call Stop. A pause that was rewritten is told again. The watch survives losses of the connection, and
// what changed meanwhile is told then. The error is that of the first look: no such queue, or no answer. It ends by Stop
// alone; ctx bounds only the beginning.
func WatchPaused(ctx context.Context, js jetstream.JetStream, q subjects.Queue, tell func(PausedChange)) (*PausedWatch, error) {
	op := "watch what is paused in " + string(q)
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, q.LanesBucket())
	if err != nil {
		return nil, explain(op, q, err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &PausedWatch{js: js, q: q, kv: kv, tell: tell, cancel: cancel, done: make(chan struct{}), known: map[string]PausedChange{}}
	first, err := kv.WatchAll(life)
	if err != nil {
		cancel()
		return nil, explain(op, q, fmt.Errorf("bucket %s: %w", q.LanesBucket(), err))
	}
	go w.run(life, first)
	return w, nil
}

// Stop ends the watch. Nothing is told any more once it has returned. It may be called twice.
func (w *PausedWatch) Stop() {
	w.cancel()
	<-w.done
}

func (w *PausedWatch) run(ctx context.Context, watcher jetstream.KeyWatcher) {
	defer close(w.done)
	back := w.js.Conn().StatusChanged(nats.CONNECTED)
	defer w.js.Conn().RemoveStatusListener(back)
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
			if Pause(ctx, pausedRetry) != nil {
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
func (w *PausedWatch) follow(ctx context.Context, watcher jetstream.KeyWatcher, back <-chan nats.Status) {
	anew := time.NewTimer(pausedRelist/2 + rand.N(pausedRelist))
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
		case <-anew.C:
			return
		case entry, ok := <-watcher.Updates():
			switch {
			case !ok:
				return
			case entry != nil:
				if w.seen(entry) && there != nil {
					there[entry.Key()] = true
				}
			case there != nil:
				w.vanished(there)
				there = nil
			}
		}
	}
}

// seen tells of one key, and says whether it is paused.
func (w *PausedWatch) seen(entry jetstream.KeyValueEntry) bool {
	key := entry.Key()
	if entry.Operation() != jetstream.KeyValuePut {
		w.over(key)
		return false
	}
	c := PausedChange{Queue: key == pausedQueue, Paused: true, Record: pauseRecord(entry.Value(), entry.Revision(), entry.Created())}
	switch {
	case c.Queue:
	case strings.HasPrefix(key, "="):
		c.Paused, c.Key, c.Value, c.Revision = false, key, entry.Value(), entry.Revision()
	default:
		var err error
		if c.Entity, err = subjects.ParseKey(key); err != nil {
			return false // no lane can be meant
		}
	}
	if was, known := w.known[key]; !known || was.Record.Seq != c.Record.Seq {
		w.known[key] = c
		w.tell(c)
	}
	return true
}

func (w *PausedWatch) over(key string) {
	c, known := w.known[key]
	if !known {
		return
	}
	delete(w.known, key)
	c.Paused, c.Record, c.Value = false, PauseRecord{}, nil
	w.tell(c)
}

// vanished tells the ends of pauses that nobody told, once all that stands has come; the first time, that it has.
func (w *PausedWatch) vanished(there map[string]bool) {
	for key := range w.known {
		if !there[key] {
			w.over(key)
		}
	}
	if !w.complete {
		w.complete = true
		w.tell(PausedChange{Complete: true})
	}
}
