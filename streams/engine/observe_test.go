package engine

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// events gathers what an engine tells.
type events struct {
	mu   sync.Mutex
	list []Event
}

func (ev *events) add(e Event) {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	ev.list = append(ev.list, e)
}

func (ev *events) of(kind EventKind) (list []Event) {
	ev.mu.Lock()
	defer ev.mu.Unlock()
	for _, e := range ev.list {
		if e.Kind == kind {
			list = append(list, e)
		}
	}
	return list
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true in time: %s", what)
		}
	}
}

func observed(t *testing.T, url string, r Runner) (*Engine, *events) {
	t.Helper()
	ev := &events{}
	e, err := Start(t.Context(), Options{
		Conn: connect(t, url), Queues: []subjects.Queue{ci}, Worker: "w", Slots: 2, Runner: r, Observe: ev.add,
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, ev
}

func TestWhatAnEngineTells(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	e, ev := observed(t, srv.URL(), newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		if j.Entity.ID == "bad" {
			return lane.Outcome{Cause: lane.CauseFatal, Error: "no such build"}
		}
		return lane.Outcome{}
	}))
	publish(t, nc, "build.good", 1)
	publish(t, nc, "build.bad", 1)
	empty(t, js, ci.JobsStream())
	eventually(t, "two ends, one death", func() bool { return len(ev.of(EventEnd)) == 2 && len(ev.of(EventDead)) == 1 })
	if n := len(ev.of(EventTurn)); n < 2 {
		t.Errorf("%d turns", n)
	}
	for _, s := range ev.of(EventStart) {
		if s.Queue != ci || s.Fence == 0 || s.Attempt != 1 || s.Header.Kind != "default" || s.Took < 0 || s.Took > time.Minute {
			t.Errorf("%+v", s)
		}
	}
	if d := ev.of(EventDead)[0]; d.Entity.String() != "build.bad" || d.Seq != 2 || d.Outcome != "fatal" || d.Error != "no such build" {
		t.Errorf("%+v", d)
	}
	for _, end := range ev.of(EventEnd) {
		if want := map[string]string{"good": "done", "bad": "fatal"}[end.Entity.ID]; end.Outcome != want {
			t.Errorf("%+v", end)
		}
	}
	stop(t, e)
}

// The leader says in another way than a copy when a job came in.
func TestHowLongAJobWaitedIsToldWhereLeadersAreRead(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	e, ev := observed(t, srv.URL(), newRecorder(func(context.Context, *Job) lane.Outcome {
		return lane.Outcome{Cause: lane.CauseFatal, Error: "no such build"}
	}))
	read := make(chan struct{})
	e.in.put(item{do: func() { // as in a cluster
		e.clustered = true
		q := e.queues[string(ci)]
		e.reloaded(string(ci), q.loaded, nil)
		close(read)
	}})
	<-read
	publish(t, nc, "build.bad", 2)
	empty(t, js, ci.JobsStream())
	eventually(t, "two deaths", func() bool { return len(ev.of(EventDead)) == 2 })
	for _, s := range ev.of(EventStart) {
		if s.Took > time.Minute {
			t.Errorf("job %d is said to have waited for %s", s.Seq, s.Took)
		}
	}
	for m := range uint64(2) {
		dead, _, err := streams.GetDead(t.Context(), js, ci, m+1)
		if err != nil || dead.PublishedAt == nil || time.Since(*dead.PublishedAt) > time.Minute {
			t.Errorf("%+v, %v", dead, err)
		}
	}
	stop(t, e)
}

// Quiet means that no job is started any more, also none of a turn that is on its way or next in a slice.
func TestQuietStartsNothing(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	release := make(chan struct{})
	e, ev := observed(t, srv.URL(), newRecorder(func(context.Context, *Job) lane.Outcome { <-release; return lane.Outcome{} }))
	publish(t, nc, "build.1", 5)
	eventually(t, "the first one runs", func() bool { return len(ev.of(EventStart)) == 1 })
	e.Quiet(true)
	eventually(t, "it is quiet", func() bool { return e.Status().State == streams.StateQuiet })
	if e.Status().Idle() {
		t.Error("idle, with a job that runs")
	}
	publish(t, nc, "build.2", 3)
	close(release)
	eventually(t, "it is idle", func() bool { return e.Status().Idle() })
	if n := len(ev.of(EventStart)); n != 1 {
		t.Errorf("%d jobs were started", n)
	}
	e.Quiet(false)
	empty(t, js, ci.JobsStream())
	eventually(t, "it runs", func() bool {
		s := e.Status()
		return s.State == streams.StateRunning && s.Session != "" && s.Slots == 2 && s.Lease == 6*time.Second
	})
	stop(t, e)
}

func TestSilence(t *testing.T) {
	srv := natstest.Start(t)
	makeQueue(t, connect(t, srv.URL()))
	block, blocked := make(chan struct{}), make(chan struct{})
	e, _ := observed(t, srv.URL(), newRecorder(nil))
	eventually(t, "it runs", func() bool { return e.Status().State == streams.StateRunning })
	e.in.put(item{do: func() { close(blocked); <-block }})
	<-blocked
	eventually(t, "a loop that hangs falls silent", func() bool { return e.Silence() > 3*tickEvery })
	if e.Status().State == "" {
		t.Error("the status is gone")
	}
	close(block)
	eventually(t, "and speaks again", func() bool { return e.Silence() < tickEvery })
	stop(t, e)
}

// A stop whose jobs are killed hands them back all the same.
func TestKillHandsBack(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	killed := make(chan struct{})
	e, ev := observed(t, srv.URL(), newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		<-j.Kill
		close(killed)
		return lane.Outcome{Cause: lane.CauseInterrupted}
	}))
	publish(t, nc, "build.1", 1)
	eventually(t, "it runs", func() bool { return len(ev.of(EventStart)) == 1 })
	drain, haste := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Stop(context.Background(), drain) }()
	haste()
	// Killed before that, it would be started again.
	eventually(t, "it is being stopped", func() bool { return e.Status().State == streams.StateStopping })
	e.Kill()
	<-killed
	if err := <-done; err != nil {
		t.Error(err)
	}
	second, _ := observed(t, srv.URL(), newRecorder(nil))
	empty(t, js, ci.JobsStream()) // long before a lease is over, or else by then; the order is what counts
	stop(t, second)
}
