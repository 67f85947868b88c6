package streams_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// makeQueue is a queue with the default policy, in memory: nothing here is about disks. It returns the policy that was
// stored.
func makeQueue(t *testing.T, js jetstream.JetStream, q subjects.Queue, change ...func(*streams.Policy)) streams.Policy {
	t.Helper()
	p := streams.DefaultPolicy()
	p.Storage = streams.StorageMemory
	for _, c := range change {
		c(&p)
	}
	created, err := streams.CreateQueue(within(t), js, q, p)
	if err != nil || !created {
		t.Fatalf("created %v: %v\n%s", created, err, problem.Hint(err))
	}
	stored := must[streams.Loaded](t)(streams.LoadQueue(within(t), js, q)).Policy
	if p.MaxJobSize == 0 {
		p.MaxJobSize = stored.MaxJobSize // what the server allows
	}
	if !stored.Equal(p) {
		t.Fatalf("asked for %+v, stored %+v", p, stored)
	}
	return p
}

func stream(t *testing.T, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := js.Stream(within(t), name)
	if err != nil {
		t.Fatal(name, err)
	}
	return s.CachedInfo()
}

func TestCreateQueue(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci, func(p *streams.Policy) {
		p.Storage, p.Lease, p.MaxBytes, p.MaxMsgs = streams.StorageFile, 20*time.Second, 1<<30, 1000
	})

	for range 2 {
		if created, err := streams.CreateQueue(ctx, js, ci, p); created || err != nil {
			t.Fatalf("again: %v, %v", created, err)
		}
	}
	l, err := streams.LoadQueue(ctx, js, ci)
	if err != nil || !l.Policy.Equal(p) || l.Replicas != 1 || l.Schema != 1 || !l.Created.Equal(stream(t, js, "JOBS_ci").Created) {
		t.Fatalf("%+v, %v", l, err)
	}

	turns, err := js.Consumer(ctx, "TURNS_ci", "workers")
	if err != nil {
		t.Fatal(err)
	}
	c := turns.CachedInfo().Config
	if c.AckWait != 20*time.Second || c.MaxAckPending != -1 || c.MaxWaiting != 8192 || c.MaxDeliver != -1 || c.AckPolicy != jetstream.AckExplicitPolicy {
		t.Fatalf("%+v", c)
	}
	// The buckets are buckets to any client.
	for _, name := range []string{"LANES_ci", "WORKERS"} {
		if _, err := js.KeyValue(ctx, name); err != nil {
			t.Fatal(name, err)
		}
	}
	kv, err := js.KeyValue(ctx, "WORKERS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(ctx, "s1", []byte("{}"), jetstream.KeyTTL(time.Minute)); err != nil {
		t.Fatal(err)
	}

	makeQueue(t, js, "mail")
	makeQueue(t, js, "a_b-9")
	if got, err := streams.ListQueues(ctx, js); err != nil || len(got) != 3 || got[0] != "a_b-9" || got[1] != ci || got[2] != "mail" {
		t.Fatal(got, err)
	}
}

func TestCreateQueueSurvivesARestart(t *testing.T) {
	s := natstest.Start(t)
	js := s.JetStream()
	p := makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = streams.StorageFile })
	before, err := streams.LoadQueue(within(t), js, ci)
	if err != nil {
		t.Fatal(err)
	}
	s.Restart()
	js = s.JetStream()
	if after, err := streams.LoadQueue(within(t), js, ci); err != nil || !after.Created.Equal(before.Created) {
		t.Fatalf("made %s, now %s, %v", before.Created, after.Created, err)
	}
	if created, err := streams.CreateQueue(within(t), js, ci, p); created || err != nil {
		t.Fatal(created, err)
	}
}

func TestCreateQueueRefusals(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := streams.DefaultPolicy()
	if _, err := streams.CreateQueue(ctx, js, "No Queue", p); !errors.Is(err, subjects.ErrQueueName) {
		t.Fatal(err)
	}
	if _, err := streams.CreateQueue(ctx, js, ci, streams.Policy{}); !errors.Is(err, streams.ErrPolicy) {
		t.Fatal(err)
	}
	three := p
	three.Replicas = 3
	if _, err := streams.CreateQueue(ctx, js, "three", three); err == nil || !strings.Contains(problem.Hint(err), "cluster") {
		t.Fatal(err, problem.Hint(err))
	}
	if _, err := streams.LoadQueue(ctx, js, ci); !errors.Is(err, streams.ErrUnknownQueue) || !strings.Contains(problem.Hint(err), "coordinator queue add ci") {
		t.Fatal(err, problem.Hint(err))
	}

	// Somebody else's stream under a queue's name, and on a queue's subjects.
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "JOBS_mine", Subjects: []string{"mine"}}); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"create": func() error { _, err := streams.CreateQueue(ctx, js, "mine", p); return err },
		"load":   func() error { _, err := streams.LoadQueue(ctx, js, "mine"); return err },
		"delete": func() error { _, err := streams.DeleteQueue(ctx, js, "mine"); return err },
		"edit": func() error {
			_, _, err := streams.EditQueue(ctx, js, "mine", func(*streams.Policy) {})
			return err
		},
		"info": func() error { _, err := streams.QueueInfo(ctx, js, "mine"); return err },
	} {
		if err := call(); !errors.Is(err, streams.ErrNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"jobs.taken.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.CreateQueue(ctx, js, "taken", p); err == nil || !strings.Contains(problem.Hint(err), "another stream") {
		t.Fatal(err, problem.Hint(err))
	}
	if got, err := streams.ListQueues(ctx, js); err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
}

// A creation that was interrupted is completed by the next one; leftovers of something else are not.
func TestCreateQueueCompletes(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	for _, gone := range [][]string{{"JOBS_ci"}, {"JOBS_ci", "KV_LANES_ci", "SCHEDULE_ci", "DEAD_ci", "CLAIMS_ci"}} {
		for _, name := range gone {
			if err := js.DeleteStream(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if created, err := streams.CreateQueue(ctx, js, ci, p); err != nil || !created {
			t.Fatal(created, err)
		}
	}

	if err := js.DeleteStream(ctx, "JOBS_ci"); err != nil {
		t.Fatal(err)
	}
	p.Lease = 33 * time.Second
	_, err := streams.CreateQueue(ctx, js, ci, p)
	var drift *streams.DriftError
	if !errors.As(err, &drift) || len(drift.Diffs) != 1 || drift.Diffs[0] != (streams.Diff{Setting: "TURNS_ci.workers.ack_wait", Is: "15s", Policy: "33s"}) {
		t.Fatal(err)
	}
	if _, err := js.Stream(ctx, "JOBS_ci"); err == nil {
		t.Fatal("a queue with foreign leftovers takes jobs")
	}
}

func TestDrift(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)

	other := p
	other.Lease, other.MaxAttempts, other.MaxBytes = 30*time.Second, 9, 1<<20
	created, err := streams.CreateQueue(ctx, js, ci, other)
	want := "policy.lease: is 15s, policy says 30s; policy.max_attempts: is 5, policy says 9; policy.max_bytes: is 0, policy says 1048576; " +
		"TURNS_ci.workers.ack_wait: is 15s, policy says 30s; JOBS_ci.max_bytes: is -1, policy says 1048576"
	if created || !errors.Is(err, streams.ErrDrift) || !strings.Contains(err.Error(), want) || !strings.Contains(problem.Hint(err), "coordinator queue edit ci") {
		t.Fatal(created, err, problem.Hint(err))
	}

	// An operator with another tool.
	change := func(name string, f func(*jetstream.StreamConfig)) {
		t.Helper()
		cfg := stream(t, js, name).Config
		f(&cfg)
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	change("JOBS_ci", func(c *jetstream.StreamConfig) {
		c.RePublish, c.Discard, c.Description = nil, jetstream.DiscardOld, "mine"
	})
	change("TURNS_ci", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
	change("DEAD_ci", func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression })
	if err := js.DeleteConsumer(ctx, "JOBS_ci", "audit"); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx, "SCHEDULE_ci"); err != nil {
		t.Fatal(err)
	}
	_, err = streams.CreateQueue(ctx, js, ci, p)
	var drift *streams.DriftError
	if !errors.As(err, &drift) {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, d := range drift.Diffs {
		got[d.Setting] = d.Is
	}
	for setting, is := range map[string]string{
		"JOBS_ci.republish": "none", "JOBS_ci.discard": "DiscardOld", "TURNS_ci.max_age": "1h0m0s", "JOBS_ci.audit": "missing", "SCHEDULE_ci": "missing",
	} {
		if got[setting] != is {
			t.Errorf("%s: %q, want %q", setting, got[setting], is)
		}
		delete(got, setting)
	}
	if len(got) > 0 {
		t.Errorf("also differ: %v", got)
	}
	if info := must[streams.Info](t)(streams.QueueInfo(ctx, js, ci)); len(info.Drift) != 5 {
		t.Errorf("info reports %v", info.Drift)
	}
	if stream(t, js, "JOBS_ci").Config.RePublish != nil {
		t.Error("drift was mended in passing")
	}

	// Editing applies the policy again, and keeps what is the operator's own.
	_, diffs, err := streams.EditQueue(ctx, js, ci, func(*streams.Policy) {})
	if err != nil || len(diffs) != 5 {
		t.Fatal(diffs, err)
	}
	if created, err := streams.CreateQueue(ctx, js, ci, p); created || err != nil {
		t.Fatal(created, err)
	}
	if stream(t, js, "JOBS_ci").Config.Description != "mine" || stream(t, js, "DEAD_ci").Config.Compression != jetstream.S2Compression {
		t.Error("the operator's own settings are gone")
	}
}

func TestNewerSchema(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	cfg := stream(t, js, "JOBS_ci").Config
	cfg.Metadata[streams.MetaSchema] = "2"
	cfg.Metadata[streams.MetaPolicy] = `{"lease":{"from":"the future"}}`
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	const says = `queue "ci" was made by a newer Seriatim (schema 2, this build speaks 1): upgrade workerd and coordinator on this host first`
	for name, call := range map[string]func(context.Context) error{
		"load":   func(ctx context.Context) error { _, err := streams.LoadQueue(ctx, js, ci); return err },
		"create": func(ctx context.Context) error { _, err := streams.CreateQueue(ctx, js, ci, p); return err },
		"edit": func(ctx context.Context) error {
			_, _, err := streams.EditQueue(ctx, js, ci, func(*streams.Policy) {})
			return err
		},
		"delete": func(ctx context.Context) error { _, err := streams.DeleteQueue(ctx, js, ci); return err },
		"info":   func(ctx context.Context) error { _, err := streams.QueueInfo(ctx, js, ci); return err },
	} {
		if err := call(ctx); !errors.Is(err, streams.ErrNewerSchema) || err.Error() != says {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := streams.ListQueues(ctx, js); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
}

// A queue of a version that knew no history: its policy says nothing of it, and its stream is not there.
func TestQueueOfAnEarlierVersion(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	old := func() {
		t.Helper()
		if err := js.DeleteStream(ctx, "HISTORY_ci"); err != nil {
			t.Fatal(err)
		}
		cfg := stream(t, js, "JOBS_ci").Config
		cfg.Metadata[streams.MetaPolicy] = `{"lease":"15s","max_attempts":5,"max_lost":3,"max_crashes":3,` +
			`"backoff":{"base":"1s","max":"10m0s","factor":2,"jitter":0.2},"on_failure":"block","on_dead":"continue",` +
			fmt.Sprintf(`"max_bytes":0,"max_job_size":%d,"max_msgs":0,"storage":"memory","replicas":1}`, p.MaxJobSize)
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}

	old()
	publishN(t, js, ci, 3)
	if l, err := streams.LoadQueue(ctx, js, ci); err != nil || !l.Policy.Equal(p) {
		t.Fatal(err, l.Policy)
	}
	info, err := streams.QueueInfo(ctx, js, ci)
	if err != nil || len(info.Drift) != 1 || info.Drift[0].Setting != "HISTORY_ci" {
		t.Fatal(err, info.Drift)
	}
	// Made again with the same policy, it gets what it lacks.
	if created, err := streams.CreateQueue(ctx, js, ci, p); created || err != nil {
		t.Fatal(created, err)
	}
	if got := stream(t, js, "HISTORY_ci").Config; got.MaxAge != 7*24*time.Hour || got.MaxMsgs != 1_000_000 || got.Discard != jetstream.DiscardOld {
		t.Fatalf("%+v", got)
	}

	// An edit does too. Another policy is drift as ever, and nothing is made.
	old()
	other := p
	other.MaxAttempts = 9
	if _, err := streams.CreateQueue(ctx, js, ci, other); !errors.Is(err, streams.ErrDrift) {
		t.Fatal(err)
	}
	if _, err := js.Stream(ctx, "HISTORY_ci"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
	if _, diffs, err := streams.EditQueue(ctx, js, ci, func(*streams.Policy) {}); err != nil || len(diffs) != 1 {
		t.Fatal(err, diffs)
	}
	if info, err := streams.QueueInfo(ctx, js, ci); err != nil || len(info.Drift) != 0 || info.Jobs != 3 {
		t.Fatal(err, info.Drift)
	}
}
