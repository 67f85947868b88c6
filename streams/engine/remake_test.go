package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// served is a server with an engine whose first job has run and is settled: a delete that is still to be sent would take
// the first job of a stream that was made anew.
func served(t *testing.T) (*natstest.Server, *nats.Conn, jetstream.JetStream, *recorder, *Engine) {
	t.Helper()
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 4)
	publish(t, nc, "build.1", 1)
	rec.wait(t, 1)
	empty(t, js, ci.JobsStream())
	return srv, nc, js, rec, e
}

// pausedLanes is how many lanes the engine takes for paused.
func pausedLanes(e *Engine) int {
	answer := make(chan int, 1)
	e.in.put(item{do: func() { answer <- e.holder.Paused(string(ci)) }})
	return <-answer
}

// What was paused is not paused any more in a queue that was removed and made anew.
func TestAQueueMadeAnewIsNotPaused(t *testing.T) {
	_, nc, js, rec, e := served(t)
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
	rec.fromOne()
	publish(t, nc, "build.1", 1)
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

// inHand is an engine in the middle of a job of build.long, when twenty other jobs have run.
type inHand struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	e   *Engine
	rec *recorder
	end chan struct{} // closed by the test: the job ends
}

func takeInHand(t *testing.T) inHand {
	t.Helper()
	srv := natstest.Start(t)
	h := inHand{nc: connect(t, srv.URL()), end: make(chan struct{})}
	h.js = makeQueue(t, h.nc)
	var first sync.Once
	started := make(chan struct{})
	h.rec = newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		if j.Entity.ID == "long" {
			first.Do(func() { close(started); <-h.end })
		}
		return lane.Outcome{}
	})
	h.e = startEngine(t, srv.URL(), h.rec, 4)
	const before = 20
	for i := range before {
		publish(t, h.nc, fmt.Sprintf("build.%d", i), 1)
	}
	h.rec.wait(t, before)
	publish(t, h.nc, "build.long", 1)
	<-started
	return h
}

// settles ends the job, and waits until its lane is out of hand.
func (h inHand) settles(t *testing.T) {
	t.Helper()
	close(h.end)
	h.rec.wait(t, 1)
	eventually(t, "nothing is in hand", func() bool { return h.e.Status().Lanes == 0 })
}

// A turn that went with its stream cannot be acknowledged: a server gives no answer about a sequence that the new stream
// has not reached. Its lane goes on all the same.
func TestATurnThatWentWithItsStreamIsEnded(t *testing.T) {
	h := takeInHand(t)
	if err := h.js.DeleteStream(t.Context(), ci.TurnsStream()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.EditQueue(t.Context(), h.js, ci, func(*streams.Policy) {}); err != nil {
		t.Fatal(err)
	}
	h.settles(t)
	publish(t, h.nc, "build.long", 2)
	h.rec.wait(t, 2)
	stop(t, h.e)
}

// A job whose stream was made anew while it ran, as by a removal of the queue that broke off, is not there to be deleted:
// the new stream has not reached its sequence. Its lane goes on all the same.
func TestAJobThatWentWithItsStreamIsSettled(t *testing.T) {
	h := takeInHand(t)
	if err := h.js.DeleteStream(t.Context(), ci.JobsStream()); err != nil {
		t.Fatal(err)
	}
	makeQueue(t, h.nc)
	h.settles(t)
	h.rec.fromOne()
	publish(t, h.nc, "build.long", 1)
	h.rec.wait(t, 1)
	stop(t, h.e)
}

// A queue that a newer version took over rests, and goes on when it is of this version again, as after a step back.
func TestAQueueThatANewerVersionHadIsServedAgain(t *testing.T) {
	_, nc, js, rec, e := served(t)
	schema := func(to string) {
		t.Helper()
		jobs, err := js.Stream(t.Context(), ci.JobsStream())
		if err != nil {
			t.Fatal(err)
		}
		cfg := jobs.CachedInfo().Config
		cfg.Metadata[streams.MetaSchema] = to
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	rests := func() bool {
		answer := make(chan bool, 1)
		e.in.put(item{do: func() { answer <- errors.Is(e.queues[string(ci)].told, streams.ErrNewerSchema) }})
		return <-answer
	}
	jobs, err := js.Stream(t.Context(), ci.JobsStream())
	if err != nil {
		t.Fatal(err)
	}
	before := jobs.CachedInfo().Config.Metadata[streams.MetaSchema]
	schema("99")
	eventually(t, "it rests", rests)
	schema(before)
	eventually(t, "it goes on", func() bool { return !rests() })
	publish(t, nc, "build.1", 1)
	rec.wait(t, 1)
	stop(t, e)
}
