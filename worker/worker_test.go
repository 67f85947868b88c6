package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) {
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

func connect(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := streams.Connect(t.Context(), streams.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestHandlersByKind(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.CreateQueue(t.Context(), js, "ci", streams.DefaultPolicy()); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 8)
	note := func(name string) Handler {
		return func(_ context.Context, j *Job) error {
			got <- name + " " + j.Entity + " " + string(j.Data) + " " + j.Header["X-Own"]
			return nil
		}
	}
	w, err := Start(t.Context(), Options{
		Conn: nc, Queues: []string{"ci"}, Slots: 2, Handlers: map[string]Handler{
			"archive": note("archive"), AnyKind: note("any"),
			"no-use": func(context.Context, *Job) error { return Fatal(errors.New("no such build")) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := subjects.ParseEntity("build.server/stream.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"archive", "no-use", "other"} {
		o := streams.PublishOptions{Kind: kind, Data: []byte(kind), Header: map[string][]string{"X-Own": {"mine"}}}
		if _, _, err := streams.Publish(t.Context(), nc, "ci", e, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"archive build.server/stream.go archive mine", "any build.server/stream.go other mine"} {
		if g := <-got; g != want {
			t.Errorf("ran %q, not %q", g, want)
		}
	}
	dead, err := streams.ListDead(t.Context(), js, "ci", streams.DeadFilter{})
	if err != nil || len(dead) != 1 || dead[0].Cause != "fatal" || !strings.Contains(dead[0].Error, "no such build") {
		t.Errorf("dead: %+v, %v", dead, err)
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	srv := natstest.Start(t)
	buffering, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer buffering.Close()
	handlers := map[string]Handler{AnyKind: func(context.Context, *Job) error { return nil }}
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"no handler", Options{Conn: buffering, Queues: []string{"ci"}}, "no handler"},
		{"buffers", Options{Conn: buffering, Queues: []string{"ci"}, Handlers: handlers}, "ReconnectBufSize"},
		{"queue name", Options{Conn: connect(t, srv.URL()), Queues: []string{"CI"}, Handlers: handlers}, "CI"},
		{"unknown queue", Options{Conn: connect(t, srv.URL()), Queues: []string{"nope"}, Handlers: handlers}, "nope"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Start(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v; it should name %q", err, c.want)
			}
		})
	}
}

// A handler that outlives its lease ends the program; one that returns in time does not.
func TestLeaseOver(t *testing.T) {
	kill := make(chan struct{})
	close(kill)
	job := &engine.Job{Kill: kill, Entity: subjects.Entity{Type: "build", ID: "1"}}
	exited := make(chan int, 1)
	hang := make(chan struct{})
	r := &runner{
		handlers: map[string]Handler{AnyKind: func(context.Context, *Job) error { <-hang; return nil }},
		grace:    time.Millisecond,
		exit:     func(code int) { exited <- code },
	}
	done := make(chan lane.Outcome)
	go func() { done <- r.Run(t.Context(), job) }()
	select {
	case code := <-exited:
		if code != ExitLeaseOver {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(time.Minute):
		t.Fatal("the program lives on beside another host's job")
	}
	close(hang)
	<-done

	r.grace = time.Hour // whatever the machine does; what goes on waiting is a leak of this test
	r.handlers[AnyKind] = func(ctx context.Context, _ *Job) error { <-ctx.Done(); return ctx.Err() }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o := r.Run(ctx, job); o.Cause != lane.CauseInterrupted {
		t.Errorf("a handler that was cancelled and returned is %v", o.Cause)
	}
	select {
	case <-exited:
		t.Error("the program exits although its handler has returned")
	default:
	}
}
