package streams_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

// A replicated queue is made, compared, used and edited like any other, and the workers' bucket follows the queue that
// needs most.
func TestReplicatedQueue(t *testing.T) {
	c := natstest.Cluster(t, 3)
	js := c.JetStream()
	ctx := within(t)
	makeQueue(t, js, "one")
	if n := stream(t, js, "KV_WORKERS").Config.Replicas; n != 1 {
		t.Fatal(n)
	}
	before := time.Now()
	p := makeQueue(t, js, ci, func(p *streams.Policy) { p.Replicas, p.MaxMsgs, p.Storage = 3, 3, streams.StorageFile })
	if n := stream(t, js, "KV_WORKERS").Config.Replicas; n != 3 {
		t.Fatal(n)
	}
	if first := stream(t, js, "CLAIMS_ci").State.FirstSeq; first < uint64(before.UnixMicro()) {
		t.Fatalf("fences begin at %d, before %s", first, before)
	}
	for range 2 {
		if created, err := streams.CreateQueue(ctx, js, ci, p); created || err != nil {
			t.Fatal(created, err)
		}
	}
	if l, err := streams.LoadQueue(ctx, js, ci); err != nil || l.Replicas != 3 {
		t.Fatal(l, err)
	}
	// The first queue is not in drift because the second one needed more.
	if i, err := streams.QueueInfo(ctx, js, "one"); err != nil || len(i.Drift) != 0 {
		t.Fatal(i.Drift, err)
	}

	publishN(t, js, ci, 3)
	if _, _, err := publish(t, js, ci, "build.7", streams.PublishOptions{}); !errors.Is(err, streams.ErrQueueFull) {
		t.Fatal(err)
	}
	if was, err := streams.DeleteMessage(ctx, js, "JOBS_ci", 1); !was || err != nil {
		t.Fatal(was, err)
	}
	if _, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{IfIdle: true}); !errors.Is(err, streams.ErrLaneBusy) {
		t.Fatal(err)
	}
	if seq, _, err := publish(t, js, ci, "build.0", streams.PublishOptions{IfIdle: true}); err != nil || seq != 4 {
		t.Fatal(seq, err)
	}
	die(t, js, 2, streams.Death{Cause: "failed", Attempts: 1})
	if n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{Seqs: []uint64{1}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	// Lists may lag behind by moments here.
	for n := 0; n != 3; {
		jobs, err := streams.ListJobs(ctx, js, ci, streams.JobFilter{})
		if err != nil {
			t.Fatal(err)
		}
		n = len(jobs)
	}

	// From one replica to three and on.
	if _, _, err := streams.EditQueue(ctx, js, "one", func(p *streams.Policy) { p.Replicas = 3 }); err != nil {
		t.Fatal(err)
	}
	if i, err := streams.QueueInfo(ctx, js, "one"); err != nil || len(i.Drift) != 0 || i.Replicas != 3 {
		t.Fatal(i, err)
	}

	// A server fewer: the queue goes on, and its fences grow.
	ack, err := js.Publish(ctx, "claims.ci.build.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	leader := c.Leader("CLAIMS_ci")
	for ; leader == nil && ctx.Err() == nil; leader = c.Leader("CLAIMS_ci") {
		time.Sleep(10 * time.Millisecond)
	}
	leader.Stop()
	var next *jetstream.PubAck
	for err = errors.New("not tried"); err != nil && ctx.Err() == nil; {
		try, cancel := context.WithTimeout(ctx, time.Second)
		next, err = js.Publish(try, "claims.ci.build.1", nil)
		cancel()
	}
	if err != nil || next.Sequence <= ack.Sequence {
		t.Fatal(next, ack, err)
	}
	// Streams whose leader was on that server answer nothing until they have another one.
	for err = errors.New("not tried"); err != nil && ctx.Err() == nil; {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = streams.DeleteQueue(try, js, ci)
		cancel()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A cluster of three keeps no five replicas, and nothing is left of the attempt.
func TestTooManyReplicas(t *testing.T) {
	js := natstest.Cluster(t, 3).JetStream()
	p := streams.DefaultPolicy()
	p.Replicas = 5
	_, err := streams.CreateQueue(within(t), js, ci, p)
	if err == nil || !strings.Contains(problem.Hint(err), "as many servers") {
		t.Fatal(err, problem.Hint(err))
	}
	for name := range js.StreamNames(within(t)).Name() {
		t.Errorf("%s is left", name)
	}
}

// A server that has just died does not hold up who reads a stream, although the consumer that reads may be put on it.
func TestScanWhileAServerIsAway(t *testing.T) {
	t.Parallel()
	servers := natstest.Processes(t, 3, func(_, _ int, addr string) string { return addr })
	js := servers[0].JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.Replicas, p.Storage = 3, streams.StorageFile })
	publishN(t, js, ci, 20)
	leader := stream(t, js, "JOBS_ci").Cluster.Leader
	for _, s := range servers[1:] {
		if s.Name() != leader {
			s.Kill()
			break
		}
	}
	ctx := within(t)
	for i := range 8 {
		for n, at := 0, time.Now(); n != 20; { // a server that lags behind may have the consumer
			n = 0
			if err := streams.Scan(ctx, js, "JOBS_ci", streams.ScanOptions{}, func(streams.Message) bool { n++; return true }); err != nil || n > 20 {
				t.Fatalf("scan %d: %d messages, %v after %s", i, n, err, time.Since(at))
			}
			t.Logf("scan %d took %s, %d messages", i, time.Since(at).Round(time.Millisecond), n)
		}
	}
}
