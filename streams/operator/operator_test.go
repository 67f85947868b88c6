package operator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/worker"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

const ci = subjects.Queue("ci")

// fixture is a queue on a server of its own.
type fixture struct {
	t  *testing.T
	nc *nats.Conn
	js jetstream.JetStream
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	srv := natstest.Start(t)
	nc, err := streams.Connect(t.Context(), streams.Options{URL: srv.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	p := streams.DefaultPolicy()
	p.Lease = 6 * time.Second
	p.Backoff.Base, p.Backoff.Max = time.Hour, time.Hour
	if _, err := streams.CreateQueue(t.Context(), js, ci, p); err != nil {
		t.Fatal(err)
	}
	return fixture{t, nc, js}
}

func entity(t *testing.T, raw string) subjects.Entity {
	t.Helper()
	e, err := subjects.ParseEntity(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (f fixture) publish(raw string, n int) {
	f.t.Helper()
	for range n {
		if _, _, err := streams.Publish(f.t.Context(), f.nc, ci, entity(f.t, raw), streams.PublishOptions{}); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f fixture) messages(stream string) uint64 {
	f.t.Helper()
	s, err := f.js.Stream(f.t.Context(), stream)
	if err != nil {
		f.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// work starts a worker whose handler is h.
func (f fixture) work(url string, h worker.Handler) *worker.Worker {
	f.t.Helper()
	return f.workTelling(url, h, nil)
}

func (f fixture) workTelling(url string, h worker.Handler, log *zerolog.Logger) *worker.Worker {
	f.t.Helper()
	nc, err := streams.Connect(f.t.Context(), streams.Options{URL: url})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	w, err := worker.Start(f.t.Context(), worker.Options{
		Conn: nc, Queues: []string{string(ci)}, Slots: 4, Handlers: map[string]worker.Handler{worker.AnyKind: h}, Log: log,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

// removeWhenIdle removes a job as soon as none of its lane runs: until a failure is recorded the lane is busy.
func (f fixture) removeWhenIdle(raw string, seq uint64) {
	f.t.Helper()
	for {
		r, err := operator.RemoveJobs(f.t.Context(), f.js, ci, entity(f.t, raw), []uint64{seq})
		if err != nil {
			f.t.Fatal(err)
		}
		if r.Removed > 0 {
			return
		}
	}
}

func TestRemovesJobsOfAnIdleLaneAndLeavesTheRestToRun(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 3)
	r, err := operator.RemoveJobs(t.Context(), f.js, ci, entity(t, "build.1"), []uint64{1, 3})
	if err != nil || r.Removed != 2 || r.Spared != 0 {
		t.Fatalf("removed %+v, %v", r, err)
	}
	ran := make(chan uint64, 8)
	w := f.work(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error { ran <- j.Seq; return nil })
	if got := <-ran; got != 2 {
		t.Errorf("job %d ran, not 2", got)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if n := f.messages(ci.JobsStream()); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}

func TestSparesALaneWhoseJobRuns(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 2)
	f.publish("build.2", 2)
	started, finish := make(chan string, 8), make(chan struct{})
	w := f.work(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error {
		started <- j.Entity
		<-finish
		return nil
	})
	<-started
	<-started
	f.publish("build.3", 1)
	<-started
	r, err := operator.PurgeQueue(t.Context(), f.js, ci)
	if err != nil || r.Removed != 0 || r.Spared != 5 {
		t.Errorf("purged %+v, %v; want all 5 spared", r, err)
	}
	close(finish)
	for range 2 {
		<-started
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// A job that waits for its retry is the head; what stood behind it must not wait for a retry that will not come.
func TestRemovingAWaitingHeadSetsTheLaneFree(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 2)
	ran := make(chan uint64, 8)
	w := f.work(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error {
		ran <- j.Seq
		if j.Seq == 1 {
			return context.DeadlineExceeded
		}
		return nil
	})
	<-ran
	f.removeWhenIdle("build.1", 1)
	if got := <-ran; got != 2 {
		t.Errorf("job %d ran, not 2", got)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// The counts of a job that stays the head survive a hold.
func TestAHoldKeepsTheCounts(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 2)
	ran := make(chan uint64, 8)
	w := f.work(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error {
		ran <- j.Seq
		return context.DeadlineExceeded
	})
	<-ran
	f.removeWhenIdle("build.1", 2)
	m, err := streams.LastMessage(t.Context(), f.js, ci.ClaimsStream(), ci.ClaimSubject(entity(t, "build.1")))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := lane.DecodeRecord(m.Seq, m.Data)
	if err != nil || rec.State != lane.Waiting || rec.Attempts != 1 || rec.Job != 1 {
		t.Errorf("the record is %+v, %v", rec, err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// A sequence of another lane removes nothing, also not those that are right: that lane is not held, and its job may run.
func TestASequenceOfAnotherLaneRemovesNothing(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 2)
	f.publish("build.2", 1)
	if _, err := f.js.Publish(t.Context(), "jobs.ci.build.%31", nil); err != nil { // looks like build.1
		t.Fatal(err)
	}
	for _, seqs := range [][]uint64{{3}, {1, 3, 2}, {4}, {1, 99, 4}} {
		r, err := operator.RemoveJobs(t.Context(), f.js, ci, entity(t, "build.1"), seqs)
		if !errors.Is(err, operator.ErrOtherLane) || r != (operator.Removal{}) || problem.Hint(err) == "" {
			t.Errorf("%v: %+v, %v", seqs, r, err)
		}
	}
	if n := f.messages(ci.JobsStream()); n != 4 {
		t.Fatalf("%d of 4 jobs are left", n)
	}
	if n := f.messages(ci.ClaimsStream()); n != 0 {
		t.Errorf("%d claims were written", n)
	}
	// What is gone already is none of another lane, and is never taken for "all".
	if r, err := operator.RemoveJobs(t.Context(), f.js, ci, entity(t, "build.1"), []uint64{99}); err != nil || r != (operator.Removal{}) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := operator.RemoveJobs(t.Context(), f.js, ci, entity(t, "build.1"), []uint64{2, 99}); err != nil || r.Removed != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Jobs whose subjects name no entity are purged too; not every one of them could be named in a request.
func TestPurgeRemovesJobsOfNoEntity(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 1)
	for _, subject := range []string{"jobs.ci.file.a%2ec", "jobs.ci.file.a%2ec", "jobs.ci.fi@le.x", "jobs.ci.file.\xff"} {
		if _, err := f.js.Publish(t.Context(), subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := operator.PurgeQueue(t.Context(), f.js, ci); err != nil || r != (operator.Removal{Removed: 5}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if n := f.messages(ci.JobsStream()); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}
