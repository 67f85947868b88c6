package engine

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// An engine that dies leaves its claims running. Its successor gives them back without waiting for the lease, also before
// it takes jobs itself, and the job that was running counts as lost.
func TestSuccessorGivesBackWhatADeadEngineHeld(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	held := make(chan Held, 1000)
	started, release := make(chan struct{}, 2), make(chan struct{})
	stuck := newRecorder(func(context.Context, *Job) lane.Outcome {
		started <- struct{}{}
		<-release
		return lane.Outcome{Cause: lane.CauseInterrupted}
	})
	dying := connect(t, srv.URL())
	a, err := Start(t.Context(), Options{
		Conn: dying, Queues: []subjects.Queue{ci}, Worker: "w", Slots: 2, Runner: stuck, Log: zerolog.Nop(),
		OnHeld: func(h Held) { held <- h },
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "build.1", 1)
	publish(t, nc, "build.2", 1)
	<-started
	<-started
	var last Held
	for len(last.Lanes) < 2 {
		last = <-held
	}
	dying.Close() // from here on nothing of the first engine reaches the server
	died := time.Now()
	attempts := make(chan int, 2)
	rec := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		attempts <- j.Attempt
		return lane.Outcome{}
	})
	b, err := Start(t.Context(), Options{
		Conn: connect(t, srv.URL()), Queues: []subjects.Queue{ci}, Worker: "w", Slots: 2, Runner: rec, Log: zerolog.Nop(),
		Predecessor: &Predecessor{Held: last, Crashed: true}, Waiting: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for farewell := false; !farewell; time.Sleep(10 * time.Millisecond) {
		workers, err := streams.ListWorkers(t.Context(), js)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range workers {
			farewell = farewell || w.Session == last.Session && w.State == streams.StateStopped
		}
		if time.Since(died) > time.Minute {
			t.Fatalf("no farewell for the dead engine's session: %+v", workers)
		}
	}
	select {
	case <-attempts:
		t.Error("it took a job before it was told to")
	default:
	}
	b.Quiet(false)
	rec.wait(t, 2)
	t.Logf("ran again %v after the death; the lease is 6s", time.Since(died).Round(time.Millisecond))
	for range 2 {
		if n := <-attempts; n != 2 {
			t.Errorf("attempt %d, not 2: the loss is to count", n)
		}
	}
	empty(t, js, ci.JobsStream())
	stop(t, b)
	close(release)
	ended, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = a.Stop(ended, ended) // it cannot hand anything back
}

// An engine without any job tells its session, too: a successor would take it for another worker's that lives. One that has
// to give something back tells its own when that is done.
func TestAnIdleEngineTellsItsSession(t *testing.T) {
	srv := natstest.Start(t)
	js := makeQueue(t, connect(t, srv.URL()))
	begin := func(p *Predecessor) (*nats.Conn, *Engine, <-chan Held) {
		held := make(chan Held, 1000)
		conn := connect(t, srv.URL())
		e, err := Start(t.Context(), Options{
			Conn: conn, Queues: []subjects.Queue{ci}, Worker: "w", Slots: 2, Runner: newRecorder(nil), Log: zerolog.Nop(),
			OnHeld: func(h Held) { held <- h }, Predecessor: p,
		})
		if err != nil {
			t.Fatal(err)
		}
		return conn, e, held
	}
	dying, a, held := begin(nil)
	first := <-held
	if session, err := a.Ready(t.Context()); err != nil || first.Session != session || len(first.Lanes) != 0 {
		t.Errorf("it tells %+v; its session is %s, %v", first, session, err)
	}
	dying.Close()
	_, b, held := begin(&Predecessor{Held: first, Crashed: true})
	second := <-held
	if session, err := b.Ready(t.Context()); err != nil || second.Session != session {
		t.Errorf("the successor tells %+v; its session is %s, %v", second, session, err)
	}
	if err := streams.CheckWorkerID(t.Context(), js, "w", second.Session); err != nil {
		t.Errorf("the former session was not ended before: %v", err)
	}
	stop(t, b)
	ended, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_ = a.Stop(ended, ended) // it cannot say goodbye
}

// A job that starts now and then is told at once: an engine that dies just after would leave it to the server's patience.
// Where many start one after the other they are told together, and the last is not forgotten.
func TestWhatStartsIsToldAtOnce(t *testing.T) {
	told := 0
	e := &Engine{
		opts: Options{OnHeld: func(Held) { told++ }}, holder: lane.NewHolder([]lane.Queue{{Name: "ci"}}, streams.NewSessionID, rand.Float64),
		heldPace: rate.NewLimiter(rate.Every(heldEvery), heldAtOnce), soon: time.NewTimer(time.Hour), at: time.Hour,
	}
	for range 3 * heldAtOnce {
		e.heldStale = true
		e.tellHeld()
	}
	if told != heldAtOnce || !e.heldStale {
		t.Errorf("told %d times in a moment, and the rest is forgotten: %v", told, !e.heldStale)
	}
	<-e.soon.C // it wakes the loop
	e.at += heldEvery
	e.tellHeld()
	if told != heldAtOnce+1 || e.heldStale {
		t.Errorf("%v later it was told %d times", heldEvery, told)
	}
}
