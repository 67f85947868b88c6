package schedule

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

const ci = subjects.Queue("ci")

// within is a context that bounds a test that hangs; nothing is ever this slow.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func makeQueue(t *testing.T, js jetstream.JetStream, change ...func(*streams.Policy)) {
	t.Helper()
	p := streams.DefaultPolicy()
	for _, c := range change {
		c(&p)
	}
	if _, err := streams.CreateQueue(within(t), js, ci, p); err != nil {
		t.Fatal(err)
	}
}

// keep starts a worker's keeper on a connection of its own, and ends it with the test.
func keep(t *testing.T, url, worker string) *Keeper {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	k, err := Start(Options{Conn: nc, Queues: []subjects.Queue{ci}, Worker: worker, Log: zerolog.New(zerolog.NewTestWriter(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.Stop(context.Background())
		nc.Close()
	})
	return k
}

// until waits for something that takes moments.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); {
		if time.Now().After(deadline) {
			t.Fatal("it never came to that: " + what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// jobs are those of the queue, with headers and bodies.
func jobs(t *testing.T, js jetstream.JetStream) (list []streams.Message) {
	t.Helper()
	err := streams.Scan(within(t), js, ci.JobsStream(), streams.ScanOptions{Bodies: true}, func(m streams.Message) bool {
		list = append(list, m)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func entity(t *testing.T, n int) subjects.Entity {
	t.Helper()
	e, err := subjects.NewEntity("build", fmt.Sprint(n))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func natsMsg(subject, body string, headers ...string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	return m
}

// removeSoon removes the schedule tick, also while a leader is being elected. An answer may get lost then.
func removeSoon(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	until(t, "it is removed", func() bool {
		ctx, cancel := context.WithTimeout(within(t), 2*time.Second) // a request that nobody hears is never answered
		defer cancel()
		err := Remove(ctx, js, ci, "tick")
		return err == nil || errors.Is(err, streams.ErrNotFound)
	})
}
