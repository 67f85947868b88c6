package engine

import (
	"testing"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// knows says whether the engine has seen a session's record.
func knows(e *Engine, session string) bool {
	answer := make(chan bool, 1)
	e.in.put(item{do: func() { _, ok := e.others[session]; answer <- ok }})
	return <-answer
}

// A server that has lost its disk knows no sessions, and counts from one again. Workers that live on see those that come.
func TestSessionsAreSeenInABucketMadeAnew(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	kv, err := js.KeyValue(t.Context(), subjects.WorkersBucket)
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string) {
		t.Helper()
		body, err := streams.SessionRecord{Session: id, Worker: id, State: streams.StateRunning, LeaseMS: 6000}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), id, body); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		put("before")
	}
	e := startEngine(t, srv.URL(), newRecorder(nil), 1)
	first, err := e.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session before is seen", func() bool { return knows(e, "before") })
	if err := js.DeleteStream(t.Context(), subjects.WorkersStream); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.EditQueue(t.Context(), js, ci, func(*streams.Policy) {}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new session stands", func() bool {
		is, err := e.Ready(t.Context())
		return err == nil && is != first
	})
	put("after")
	eventually(t, "the session after is seen, and that before is forgotten", func() bool { return knows(e, "after") && !knows(e, "before") })
	stop(t, e)
}
