package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// died waits for n dead letters and returns them.
func died(t *testing.T, nc *nats.Conn, n int) []streams.DeadInfo {
	t.Helper()
	js := jetStream(t, nc)
	deadline := time.Now().Add(60 * time.Second)
	for {
		dead, err := streams.ListDead(t.Context(), js, ci, streams.DeadFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(dead) >= n {
			return dead
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d jobs died", len(dead), n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestFailuresAreTriedAgainAndThenDead(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		switch string(j.Body) {
		case "fail":
			return lane.Outcome{Cause: lane.CauseFailed, Error: fmt.Sprintf("attempt %d", j.Attempt)}
		case "fatal":
			return lane.Outcome{Cause: lane.CauseFatal, Error: "of no use"}
		case "crash":
			return lane.Outcome{Cause: lane.CauseCrashed, Error: "signal 11"}
		case "once":
			if j.Attempt == 1 {
				return lane.Outcome{Cause: lane.CauseFailed, Error: "not yet", RetryIn: 10 * time.Millisecond}
			}
		}
		return lane.Outcome{}
	})
	send := func(subject, body string, header nats.Header) {
		t.Helper()
		if _, err := nc.RequestMsg(&nats.Msg{Subject: subject, Data: []byte(body), Header: header}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	send("jobs.ci.a.1", "fail", nil)
	send("jobs.ci.a.1", "ok", nil) // waits behind its retries
	send("jobs.ci.b.1", "fatal", nil)
	send("jobs.ci.c.1", "crash", nil)
	send("jobs.ci.d.1", "once", nil)
	send("jobs.ci.e.1", "fail", nats.Header{"Job-Max-Attempts": {"2"}})
	e := startEngine(t, srv.URL(), rec, 8)
	rec.wait(t, 5+1+1+3+2+2)
	got := map[string]streams.DeadInfo{}
	for _, d := range died(t, nc, 4) {
		got[d.Entity] = d
	}
	for entity, want := range map[string]streams.DeadInfo{
		"a.1": {Cause: "failed", Error: "attempt 5", Attempts: 5},
		"b.1": {Cause: "fatal", Error: "of no use", Attempts: 1},
		"c.1": {Cause: "crashed", Error: "signal 11", Attempts: 3},
		"e.1": {Cause: "failed", Error: "attempt 2", Attempts: 2},
	} {
		d := got[entity]
		if d.Cause != want.Cause || d.Error != want.Error || d.Attempts != want.Attempts {
			t.Errorf("%s died of %q (%q) after %d attempts, not of %q (%q) after %d", entity, d.Cause, d.Error, d.Attempts, want.Cause, want.Error, want.Attempts)
		}
	}
	empty(t, js, ci.JobsStream())
	empty(t, js, ci.TurnsStream())
	stop(t, e)
}

// What cannot be used is dead at once, with the reason; what a publisher forged changes nothing.
func TestUnusableAndForgedJobs(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	for _, subject := range []string{
		"jobs.ci.build.a%2e", "jobs.ci.build.%41", "jobs.ci.build.a%", "jobs.ci.bu$ld.1", "jobs.ci.build.\xff\xfe",
		"jobs.ci.build.\xff\xfe", // a second one in a lane that no request can name
	} {
		if _, err := nc.Request(subject, nil, 5*time.Second); err != nil {
			t.Fatalf("%q: %v", subject, err)
		}
	}
	bad := nats.NewMsg("jobs.ci.build.timeout")
	bad.Header.Set("Job-Timeout", "soon")
	if _, err := nc.RequestMsg(bad, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for i, h := range []nats.Header{
		{"Status": {"404"}},
		{"Nats-Sequence": {"1"}, "Nats-Last-Sequence": {"0"}, "Nats-Subject": {"jobs.ci.other.1"}, "Nats-Stream": {"JOBS_other"}},
		{"Nats-Num-Pending": {"0"}, "Seriatim-Head": {"1"}},
		{"Status": {"503"}},
	} {
		if _, err := nc.RequestMsg(&nats.Msg{Subject: fmt.Sprintf("jobs.ci.forged.%d", i), Header: h}, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		publish(t, nc, fmt.Sprintf("forged.%d", i), 1)
	}
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 8)
	rec.wait(t, 8)
	for _, d := range died(t, nc, 7) {
		if d.Cause != "invalid" || d.Error == "" {
			t.Errorf("%s died of %q: %q", d.Entity, d.Cause, d.Error)
		}
	}
	empty(t, js, ci.JobsStream())
	stop(t, e)
}

// A kind without a pool waits for another worker.
func TestUnservedWaits(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	m := nats.NewMsg("jobs.ci.build.1")
	m.Header.Set("Job-Kind", "unserved")
	if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	rec := newRecorder(nil)
	a := startEngine(t, srv.URL(), rec, 2)
	publish(t, nc, "build.2", 1)
	rec.wait(t, 1)
	all := newRecorder(nil)
	b := startEngine(t, srv.URL(), anyKind{all}, 2)
	all.wait(t, 1)
	empty(t, js, ci.JobsStream())
	stop(t, a)
	stop(t, b)
}

type anyKind struct{ *recorder }

func (anyKind) Serves(string) bool { return true }

// A stop hands a running job over, without counting it against the job.
func TestStopHandsOver(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	makeQueue(t, nc)
	started := make(chan struct{})
	slow := newRecorder(func(ctx context.Context, _ *Job) lane.Outcome {
		close(started)
		<-ctx.Done()
		return lane.Outcome{Cause: lane.CauseInterrupted, Error: "stopped"}
	})
	a := startEngine(t, srv.URL(), slow, 1)
	publish(t, nc, "build.1", 1)
	<-started
	attempt := make(chan int, 1)
	quick := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		attempt <- j.Attempt
		return lane.Outcome{}
	})
	b := startEngine(t, srv.URL(), quick, 1)
	drain, now := context.WithCancel(t.Context())
	now()
	if err := a.Stop(t.Context(), drain); err != nil {
		t.Error(err)
	}
	quick.wait(t, 1)
	if n := <-attempt; n != 1 {
		t.Errorf("the handed-over job is attempt %d", n)
	}
	workers, err := streams.ListWorkers(t.Context(), jetStream(t, nc))
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	for _, w := range workers {
		if w.State == streams.StateStopped {
			stopped++
		}
	}
	if stopped != 1 {
		t.Errorf("%d workers said goodbye, not 1: %+v", stopped, workers)
	}
	stop(t, b)
}

// A server that is killed and comes back forgets deliveries; nothing runs twice at once or is lost.
func TestServerIsKilledAndComesBack(t *testing.T) {
	srv := natstest.Process(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		time.Sleep(time.Duration(j.Seq%5) * time.Millisecond)
		return lane.Outcome{}
	})
	a, b := startEngine(t, srv.URL(), rec, 8), startEngine(t, srv.URL(), rec, 8)
	for i := range 40 {
		publish(t, nc, fmt.Sprintf("build.%d", i), 25)
		if i%10 == 5 {
			before := nc.Stats().Reconnects
			srv.Kill()
			srv.Restart()
			// It may hold the old connection for one that stands.
			until(t, "the new connection", func() bool { return nc.Stats().Reconnects > before && nc.IsConnected() })
		}
	}
	empty(t, js, ci.JobsStream())
	stop(t, a)
	stop(t, b)
	rec.wait(t, 40*25)
}
