package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

// claimOf waits until the lane's claim is as wanted.
func claimOf(t *testing.T, js jetstream.JetStream, entity string, want func(lane.Record) bool) lane.Record {
	t.Helper()
	var r lane.Record
	until(t, "the claim of "+entity, func() bool {
		m, err := streams.LastMessage(t.Context(), js, ci.ClaimsStream(), "claims.ci."+entity)
		if err != nil {
			return false
		}
		r, err = lane.DecodeRecord(m.Seq, m.Data)
		return err == nil && want(r)
	})
	return r
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func jobsOf(t *testing.T, js jetstream.JetStream, entity string) (n int) {
	t.Helper()
	scan := streams.ScanOptions{Subjects: []string{"jobs.ci." + entity}}
	if err := streams.Scan(t.Context(), js, ci.JobsStream(), scan, func(streams.Message) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A paused lane runs nothing, whatever turns it gets; its neighbours do. Resumed, it runs at once.
func TestPausedLane(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	a, err := subjects.ParseEntity("a.1")
	if err != nil {
		t.Fatal(err)
	}
	first, err := subjects.ParseEntity("first.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.PauseLane(t.Context(), js, ci, first, streams.PauseOptions{By: "test"}); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "first.1", 2) // paused before the worker starts
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 4)
	publish(t, nc, "b.1", 1)
	rec.wait(t, 1)
	if _, _, err := streams.PauseLane(t.Context(), js, ci, a, streams.PauseOptions{By: "test"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the watch", func() bool {
		paused := make(chan bool, 1)
		e.in.put(item{do: func() { paused <- e.holder.LanePaused("ci.a.1") }})
		return <-paused
	})
	publish(t, nc, "a.1", 3)
	publish(t, nc, "b.1", 5)
	rec.wait(t, 5)
	until(t, "the turns of the paused lanes to be ended", func() bool {
		info, err := js.Stream(t.Context(), ci.TurnsStream())
		return err == nil && info.CachedInfo().State.Msgs == 0
	})
	if n := jobsOf(t, js, "a.1") + jobsOf(t, js, "first.1"); n != 5 {
		t.Errorf("%d of 5 jobs wait in the paused lanes", n)
	}
	for _, paused := range []subjects.Entity{a, first} {
		if _, err := streams.ResumeLane(t.Context(), js, ci, paused); err != nil {
			t.Fatal(err)
		}
	}
	rec.wait(t, 5)
	empty(t, js, ci.JobsStream())
	empty(t, js, ci.TurnsStream())
	stop(t, e)
}

// A pause that ends by itself leaves nobody behind: whoever watches gives the lane its turn.
func TestPauseThatEnds(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	a, err := subjects.ParseEntity("a.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.PauseLane(t.Context(), js, ci, a, streams.PauseOptions{By: "test", For: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "a.1", 1)
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 4)
	rec.wait(t, 1)
	stop(t, e)
}

// A paused queue keeps its turns and starts nothing.
func TestPausedQueue(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	if _, _, err := streams.PauseQueue(t.Context(), js, ci, streams.PauseOptions{By: "test"}); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "a.1", 2)
	publish(t, nc, "b.1", 1)
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 4)
	until(t, "the pauses to be known", func() bool {
		halted := make(chan bool, 1)
		e.in.put(item{do: func() { halted <- e.holder.Session().Phase == lane.SessionStands }})
		return <-halted
	})
	if n := jobsOf(t, js, "a.1"); n != 2 {
		t.Errorf("%d of 2 jobs wait", n)
	}
	if _, err := streams.ResumeQueue(t.Context(), js, ci); err != nil {
		t.Fatal(err)
	}
	rec.wait(t, 3)
	empty(t, js, ci.JobsStream())
	stop(t, e)
}

// A dead job halts its lane where the job, or the queue, says so; nothing behind it runs.
func TestHalt(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		if string(j.Body) == "no" {
			return lane.Outcome{Cause: lane.CauseFatal, Error: "of no use", Log: "and so on"}
		}
		return lane.Outcome{}
	})
	e := startEngine(t, srv.URL(), rec, 4)
	m := &nats.Msg{Subject: "jobs.ci.a.1", Header: nats.Header{"Job-On-Dead": {"halt"}}, Data: []byte("no")}
	if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "a.1", 3)
	rec.wait(t, 1)
	r := claimOf(t, js, "a.1", func(r lane.Record) bool { return r.State == lane.Halted })
	if r.Error != "of no use" || len(r.Tries) != 1 || r.Tries[0].Log != "and so on" || r.Tries[0].Start == 0 {
		t.Errorf("the claim is %+v", r)
	}
	publish(t, nc, "a.1", 1)
	publish(t, nc, "b.1", 1)
	rec.wait(t, 1)
	until(t, "the turn of the halted lane to be ended", func() bool {
		info, err := js.Stream(t.Context(), ci.TurnsStream())
		return err == nil && info.CachedInfo().State.Msgs == 0
	})
	if n := jobsOf(t, js, "a.1"); n != 5 {
		t.Errorf("%d of 5 jobs are in the halted lane", n)
	}
	stop(t, e)
}

// A failed job that lets others pass leaves its lane for the schedule, with what it was charged with.
func TestPass(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		if string(j.Body) == "no" {
			return lane.Outcome{Cause: lane.CauseFailed, Error: "not yet", RetryIn: time.Hour}
		}
		return lane.Outcome{}
	})
	e := startEngine(t, srv.URL(), rec, 4)
	m := &nats.Msg{Subject: "jobs.ci.a.1", Header: nats.Header{"Job-On-Failure": {"pass"}, "Own": {"x"}}, Data: []byte("no")}
	if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "a.1", 3)
	rec.wait(t, 4)
	empty(t, js, ci.JobsStream())
	waits, err := streams.GetMessage(t.Context(), js, ci.ScheduleStream(), 1)
	if err != nil {
		t.Fatal(err)
	}
	was := streams.ReadCarried(subjects.Get(waits.Header, streams.HeaderCarried))
	if was.Counts.Attempts != 1 || len(was.Tries) != 1 || was.Published.IsZero() || subjects.Get(waits.Header, "Own") != "x" || string(waits.Data) != "no" {
		t.Errorf("it waits as %+v with %+v", waits, was)
	}
	// Back in its lane the counts go on.
	m.Header[streams.HeaderCarried] = []string{streams.Carried{Counts: lane.Counts{Attempts: 4}, Published: was.Published}.Encode()}
	if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	rec.wait(t, 1)
	d := died(t, nc, 1)[0]
	if d.Attempts != 5 || d.PublishedAt == nil || !d.PublishedAt.Equal(was.Published) {
		t.Errorf("it died as %+v", d)
	}
	stop(t, e)
}

// A failed job that lets others pass goes, and can come back, also when it is as large as can be and has much to tell.
func TestPassOfTheLargest(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	loaded, err := streams.LoadQueue(t.Context(), js, ci)
	if err != nil {
		t.Fatal(err)
	}
	most := int(loaded.Policy.MaxJobSize)
	much := strings.Repeat("<", 1000) // as JSON six times as long
	rec := newRecorder(func(context.Context, *Job) lane.Outcome {
		return lane.Outcome{Cause: lane.CauseFailed, Error: much, Log: much, RetryIn: time.Hour}
	})
	e := startEngine(t, srv.URL(), rec, 4)
	own := strings.Repeat("h", 58<<10)
	for i, c := range []struct {
		body  int
		own   string
		tries int
	}{{most - 512, "", 1}, {most - 100, "", 0}, {most - 8192, "", 1}, {2, own, 1}} {
		m := &nats.Msg{Subject: fmt.Sprintf("jobs.ci.a.%d", i), Header: nats.Header{"Job-On-Failure": {"pass"}}, Data: make([]byte, c.body)}
		if c.own != "" {
			m.Header["Own"] = []string{c.own}
		}
		answer, err := nc.RequestMsg(m, 5*time.Second)
		if err != nil || strings.Contains(string(answer.Data), "error") {
			t.Fatal(err, string(answer.Data))
		}
		rec.wait(t, 1)
		empty(t, js, ci.JobsStream())
		waits, err := streams.GetMessage(t.Context(), js, ci.ScheduleStream(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		was := streams.ReadCarried(subjects.Get(waits.Header, streams.HeaderCarried))
		if was.Counts.Attempts != 1 || len(was.Tries) != c.tries || subjects.Get(waits.Header, "Own") != c.own {
			t.Errorf("%+v waits with %d tries", c, len(was.Tries))
		}
		if size := schedule.SizeInLane(ci, &nats.Msg{Header: nats.Header(waits.Header), Data: waits.Data}); size > most && c.body < most-400 {
			t.Errorf("%+v comes back with %d bytes, and %d are possible", c, size, most)
		}
	}
	stop(t, e)
}

// A cancelled job that runs is ended and gone; one behind it does not start; what this worker has not is said so.
func TestCancel(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	started := make(chan uint64, 8)
	rec := newRecorder(func(ctx context.Context, j *Job) lane.Outcome {
		started <- j.Seq
		if string(j.Body) != "long" {
			return lane.Outcome{}
		}
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), ErrCancelled) {
			t.Errorf("it was ended because of %v", context.Cause(ctx))
		}
		return lane.Outcome{Cause: lane.CauseFailed, Error: "ended"}
	})
	e := startEngine(t, srv.URL(), rec, 4)
	if _, err := nc.Request("jobs.ci.a.1", []byte("long"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "a.1", 2)
	if seq := <-started; seq != 1 {
		t.Fatalf("job %d starts first", seq)
	}
	a, _ := subjects.ParseEntity("a.1")
	b, _ := subjects.ParseEntity("b.1")
	did, err := e.Cancel(t.Context(), ci, b, []uint64{9})
	if err != nil || did[9] != CancelAbsent {
		t.Errorf("of b.1: %v, %v", did, err)
	}
	did, err = e.Cancel(t.Context(), ci, a, []uint64{1, 2})
	if err != nil || did[1] != CancelRunning || did[2] != CancelNoted {
		t.Errorf("of a.1: %v, %v", did, err)
	}
	if seq := <-started; seq != 3 {
		t.Errorf("job %d starts next, not 3", seq)
	}
	empty(t, js, ci.JobsStream())
	if dead, err := streams.ListDead(t.Context(), js, ci, streams.DeadFilter{}); err != nil || len(dead) > 0 {
		t.Errorf("dead: %+v, %v", dead, err)
	}
	stop(t, e)
}
