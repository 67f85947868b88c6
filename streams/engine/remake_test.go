package engine

import (
	"testing"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// pausedLanes is how many lanes the engine takes for paused.
func pausedLanes(e *Engine) int {
	answer := make(chan int, 1)
	e.in.put(item{do: func() { answer <- e.holder.Paused(string(ci)) }})
	return <-answer
}

// What was paused is not paused any more in a queue that was removed and made anew.
func TestAQueueMadeAnewIsNotPaused(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 1)
	publish(t, nc, "build.1", 1)
	rec.wait(t, 1)
	if _, _, err := streams.PauseQueue(t.Context(), js, ci, streams.PauseOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.PauseLane(t.Context(), js, ci, subjects.Entity{Type: "build", ID: "1"}, streams.PauseOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pauses are known", func() bool { return pausedLanes(e) == 1 })
	if _, err := streams.DeleteQueue(t.Context(), js, ci); err != nil {
		t.Fatal(err)
	}
	makeQueue(t, nc)
	publish(t, nc, "build.1", 1)
	rec.order = map[string][]uint64{} // its jobs count from one again
	rec.wait(t, 1)
	stop(t, e)
}

// A bucket of pauses that went, and was made anew by an edit of the queue, is followed.
func TestPausesAreSeenInABucketMadeAnew(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	one := subjects.Entity{Type: "build", ID: "1"}
	for range 5 { // sequences that the new bucket will not reach
		if _, _, err := streams.PauseLane(t.Context(), js, ci, one, streams.PauseOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := streams.ResumeLane(t.Context(), js, ci, one); err != nil {
			t.Fatal(err)
		}
	}
	e := startEngine(t, srv.URL(), newRecorder(nil), 1)
	if err := js.DeleteStream(t.Context(), "KV_"+ci.LanesBucket()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.EditQueue(t.Context(), js, ci, func(*streams.Policy) {}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.PauseLane(t.Context(), js, ci, one, streams.PauseOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pause is known", func() bool { return pausedLanes(e) == 1 })
	stop(t, e)
}
