package streams_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

const payload = 64 << 10

// Any client is held to the limit, and a job of exactly that size can be stored once more with the longest reason that
// a death may have.
func TestTheLargestJob(t *testing.T) {
	js := natstest.Start(t, natstest.MaxPayload(payload)).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	if p.MaxJobSize != payload-4096 {
		t.Fatalf("the largest job is %d", p.MaxJobSize)
	}
	body := func(n int64) []byte { return []byte(strings.Repeat("x", int(n))) }
	var api *jetstream.APIError
	if _, err := js.Publish(ctx, "jobs.ci.build.1", body(p.MaxJobSize+1)); !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamMessageExceedsMaximum {
		t.Fatal("a job that is too large:", err)
	}
	const head = "NATS/1.0\r\nOwn: 1\r\n\r\n"
	m := nats.NewMsg("jobs.ci.build.1")
	m.Header.Set("Own", "1")
	m.Data = body(p.MaxJobSize - int64(len(head)) + 1)
	if _, err := js.PublishMsg(ctx, m); err == nil {
		t.Fatal("headers do not count")
	}
	m.Data = m.Data[1:]
	for _, publish := range []func() error{
		func() error { _, err := js.PublishMsg(ctx, m); return err },
		func() error { _, err := js.Publish(ctx, "jobs.ci.build.1", body(p.MaxJobSize)); return err },
		func() error {
			_, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{Data: body(p.MaxJobSize)})
			return err
		},
	} {
		if err := publish(); err != nil {
			t.Fatal(err)
		}
	}
	for seq := range uint64(3) {
		die(t, js, seq+1, streams.Death{
			Cause: strings.Repeat("c", 999), Error: strings.Repeat("e", 9999), Worker: strings.Repeat("w", 999), History: strings.Repeat("h", 9999),
			Attempts: 1 << 30, PublishedAt: time.Now(),
		})
	}
	if dead, err := streams.ListDead(ctx, js, ci, streams.DeadFilter{}); err != nil || len(dead) != 3 || dead[2].Size != int(p.MaxJobSize) {
		t.Fatal(len(dead), err)
	}

	// A retry adds an id. A job that has no room for it stays dead until the limit is raised for it.
	n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{})
	if n != 0 || !errors.Is(err, streams.ErrTooLarge) || !strings.Contains(problem.Hint(err), "--max-job-size") {
		t.Fatalf("%d retried: %v\n%s", n, err, problem.Hint(err))
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.MaxJobSize += 512 }); err != nil {
		t.Fatal(err)
	}
	if n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{}); n != 3 || err != nil {
		t.Fatal(n, err)
	}
}

func TestMaxJobSize(t *testing.T) {
	s := natstest.Start(t, natstest.MaxPayload(payload))
	js := s.JetStream()
	ctx := within(t)
	makeQueue(t, js, ci, func(p *streams.Policy) { p.MaxJobSize = 1000 })
	_, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{Data: make([]byte, 1001)})
	if !errors.Is(err, streams.ErrTooLarge) || !strings.Contains(problem.Hint(err), "max_job_size") {
		t.Fatal(err, problem.Hint(err))
	}
	if _, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{Data: make([]byte, 1000)}); err != nil {
		t.Fatal(err)
	}
	p, diffs, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.MaxJobSize = 0 })
	if err != nil || p.MaxJobSize != payload-4096 || len(diffs) != 2 {
		t.Fatalf("%+v %v %v", p, diffs, err)
	}
	// Not said is as it is, for one who makes the queue once more.
	p.MaxJobSize = 0
	if created, err := streams.CreateQueue(ctx, js, ci, p); created || err != nil {
		t.Fatal(created, err)
	}

	p.MaxJobSize = payload
	if _, err := streams.CreateQueue(ctx, js, "large", p); !errors.Is(err, streams.ErrPolicy) || !strings.Contains(err.Error(), "max_job_size is 65536") {
		t.Fatal(err)
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.MaxJobSize = payload }); !errors.Is(err, streams.ErrPolicy) {
		t.Fatal(err)
	}
	tiny := natstest.Start(t, natstest.MaxPayload(4096)).JetStream()
	if _, err := streams.CreateQueue(ctx, tiny, ci, streams.DefaultPolicy()); err == nil || !strings.Contains(problem.Hint(err), "max_payload") {
		t.Fatal(err)
	}
}
