package streams

import (
	"context"
	"fmt"
	"strings"

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

// PausedWatch follows the pauses of a queue until Stop, after which nothing is told any more.
type PausedWatch struct {
	*KeyWatch
	tell func(PausedChange)

	// Of its goroutine.
	known    map[string]PausedChange
	complete bool
}

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
	w := &PausedWatch{tell: tell, known: map[string]PausedChange{}}
	if w.KeyWatch, err = WatchKeys(ctx, js.Conn(), kv, KeyTold{Key: w.seen, Listed: w.vanished}); err != nil {
		return nil, explain(op, q, fmt.Errorf("bucket %s: %w", q.LanesBucket(), err))
	}
	return w, nil
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
