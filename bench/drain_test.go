// Package bench measures whole paths, each beside a plain JetStream work queue in the same run: absolute numbers of a
// shared machine mean little, ratios more.
package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/worker"
)

const (
	entities = 100_000
	slots    = 512
	queue    = subjects.Queue("bench")
)

func connect(b *testing.B, url string) *nats.Conn {
	b.Helper()
	nc, err := streams.Connect(b.Context(), streams.Options{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	return nc
}

// fill publishes one message per entity, many at once, and waits for all answers.
func fill(b *testing.B, nc *nats.Conn, prefix string, n int) time.Duration {
	b.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	for i := range n {
		if _, err := js.PublishAsync(fmt.Sprintf("%s.build.%d", prefix, i), []byte("{}"), jetstream.WithStallWait(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return time.Since(start)
}

// plain drains a plain work queue with so many copies: pull, handle, ack.
func plain(b *testing.B, nc *nats.Conn, n, replicas int) time.Duration {
	b.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	s, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: "PLAIN", Subjects: []string{"plain.>"}, Retention: jetstream.WorkQueuePolicy, Replicas: replicas,
	})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, nc, "plain", n)
	c, err := s.CreateConsumer(b.Context(), jetstream.ConsumerConfig{Durable: "w", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
	if err != nil {
		b.Fatal(err)
	}
	var got atomic.Int64
	done := make(chan struct{})
	start := time.Now()
	run, err := c.Consume(func(m jetstream.Msg) {
		if m.Ack() == nil && got.Add(1) == int64(n) {
			close(done)
		}
	}, jetstream.PullMaxMessages(slots))
	if err != nil {
		b.Fatal(err)
	}
	<-done
	took := time.Since(start)
	run.Stop()
	if err := js.DeleteStream(b.Context(), "PLAIN"); err != nil {
		b.Fatal(err)
	}
	return took
}

// drain starts a worker and waits until n jobs ran and the queue is empty.
func drain(b *testing.B, url string, n int, before func()) time.Duration {
	b.Helper()
	nc := connect(b, url)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	w, err := worker.Start(b.Context(), worker.Options{
		Conn: nc, Queues: []string{string(queue)}, Slots: slots,
		Handlers: map[string]worker.Handler{worker.AnyKind: func(context.Context, *worker.Job) error { return nil }},
	})
	if err != nil {
		b.Fatal(err)
	}
	before()
	for {
		s, err := js.Stream(b.Context(), queue.JobsStream())
		if err != nil {
			b.Fatal(err)
		}
		if s.CachedInfo().State.Msgs == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(start)
	if err := w.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
	return took
}

func makeQueue(b *testing.B, nc *nats.Conn) {
	b.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := streams.CreateQueue(b.Context(), js, queue, streams.DefaultPolicy()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDrain drains no-op jobs of 100,000 entities, beside a plain work queue on the same server.
func BenchmarkDrain(b *testing.B) {
	for b.Loop() {
		srv := natstest.Start(b)
		nc := connect(b, srv.URL())
		makeQueue(b, nc)
		p := plain(b, nc, entities, 1)
		pub := fill(b, nc, "jobs."+string(queue), entities)
		d := drain(b, srv.URL(), entities, func() {})
		rate := func(t time.Duration) float64 { return entities / t.Seconds() }
		b.ReportMetric(rate(pub), "published/s")
		b.ReportMetric(rate(d), "drained/s")
		b.ReportMetric(rate(p), "plain/s")
		b.ReportMetric(p.Seconds()/d.Seconds(), "of-plain")
		srv.Stop()
	}
}

// BenchmarkBoth publishes and drains at the same time.
func BenchmarkBoth(b *testing.B) {
	for b.Loop() {
		srv := natstest.Start(b)
		nc := connect(b, srv.URL())
		makeQueue(b, nc)
		d := drain(b, srv.URL(), entities, func() { fill(b, nc, "jobs."+string(queue), entities) })
		b.ReportMetric(entities/d.Seconds(), "jobs/s")
		srv.Stop()
	}
}
