package worker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/worker"
)

// An operator can cancel a handler's job: its context ends, and the job is gone, neither done nor dead.
func TestAnOperatorTellsAWorker(t *testing.T) {
	s := natstest.Start(t)
	js := s.JetStream()
	if _, err := streams.CreateQueue(t.Context(), js, "ci", streams.DefaultPolicy()); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL(), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	started, ended := make(chan uint64, 8), make(chan error, 8)
	w, err := worker.Start(t.Context(), worker.Options{
		Conn: nc, Queues: []string{"ci"}, ID: "w1", Slots: 2,
		Handlers: map[string]worker.Handler{"default": func(ctx context.Context, j *worker.Job) error {
			started <- j.Seq
			if j.Seq == 1 {
				<-ctx.Done()
			}
			ended <- ctx.Err()
			return ctx.Err()
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r streams.ControlRequest) (streams.ControlReply, error) {
		return streams.AskWorker(t.Context(), s.Conn(), "w1", r)
	}
	e, err := subjects.ParseEntity("build.1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := streams.Publish(t.Context(), s.Conn(), "ci", e, streams.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if seq := <-started; seq != 1 {
		t.Fatal(seq)
	}
	r, err := ask(streams.ControlRequest{Verb: streams.VerbCancel, Queue: "ci", Lane: e.Token(), Seqs: []uint64{1}})
	if err != nil || r.Jobs[1] != streams.JobRunning {
		t.Fatalf("%+v %v", r, err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if seq := <-started; seq != 2 {
		t.Errorf("job %d was started", seq)
	}
	<-ended
	for verb, state := range map[string]string{streams.VerbQuiet: streams.StateQuiet, streams.VerbResume: streams.StateRunning} {
		if r, err := ask(streams.ControlRequest{Verb: verb}); err != nil || r.State != state {
			t.Errorf("%s: %+v %v", verb, r, err)
		}
	}
	for _, bad := range []streams.ControlRequest{
		{Verb: streams.VerbStop},
		{Verb: streams.VerbCancel, Queue: "CI", Lane: e.Token()},
		{Verb: streams.VerbCancel, Queue: "ci", Lane: "build.%31"},
	} {
		if _, err := ask(bad); !errors.Is(err, streams.ErrRefused) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := ask(streams.ControlRequest{Verb: streams.VerbQuiet}); !errors.Is(err, streams.ErrNoAnswer) {
		t.Error(err)
	}
	if dead, err := streams.ListDead(t.Context(), js, "ci", streams.DeadFilter{}); err != nil || len(dead) != 0 {
		t.Errorf("%+v %v", dead, err)
	}
}
