package streams_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestListJobs(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	for i := range 1200 { // several batches
		m := nats.NewMsg(fmt.Sprintf("jobs.ci.build.%d", i%7))
		m.Header.Set("Job-Kind", []string{"a", "b", "c"}[i%3])
		m.Data = make([]byte, i)
		if _, err := js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal("publishing hangs")
	}
	list := func(f streams.JobFilter) []streams.JobInfo {
		t.Helper()
		jobs, err := streams.ListJobs(ctx, js, ci, f)
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	all := list(streams.JobFilter{})
	if len(all) != 1200 {
		t.Fatal(len(all))
	}
	for i, j := range all {
		if j.Seq != uint64(i+1) || j.Size != i || j.Entity != fmt.Sprintf("build.%d", i%7) || j.ID != fmt.Sprintf("ci-%d", i+1) || j.PublishedAt.IsZero() || j.Invalid != "" {
			t.Fatalf("%+v", j)
		}
	}
	for name, c := range map[string]struct {
		f           streams.JobFilter
		first, want int
	}{
		"from":       {streams.JobFilter{From: 1000}, 1000, 201},
		"limit":      {streams.JobFilter{Limit: 7}, 1, 7},
		"long limit": {streams.JobFilter{Limit: 1100}, 1, 1100},
		"entity":     {streams.JobFilter{Entities: []subjects.Entity{entity(t, "build.3")}}, 4, 171},
		"entities":   {streams.JobFilter{Entities: []subjects.Entity{entity(t, "build.3"), entity(t, "build.0")}}, 1, 343},
		"kind":       {streams.JobFilter{Kind: "b"}, 2, 400},
		"all at once": {streams.JobFilter{
			Kind: "b", Limit: 3, From: 100, Entities: []subjects.Entity{entity(t, "build.0"), entity(t, "build.1")},
		}, 107, 3},
	} {
		if got := list(c.f); len(got) != c.want || got[0].Seq != uint64(c.first) {
			t.Errorf("%s: %d from %d", name, len(got), got[0].Seq)
		}
	}
	if got := list(streams.JobFilter{Entities: []subjects.Entity{entity(t, "build.none")}}); got == nil || len(got) != 0 {
		t.Error(got)
	}
	if _, err := streams.ListJobs(ctx, js, "none", streams.JobFilter{}); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Error(err)
	}
	// Nothing is left behind: the audit is the only consumer. A list does not wait for long until its own is removed.
	for until := time.Now().Add(30 * time.Second); stream(t, js, "JOBS_ci").State.Consumers != 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Error("consumers are left") // before the server forgets them by itself
			break
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := streams.ListJobs(over, js, ci, streams.JobFilter{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Jobs that no worker could use are shown, with what is wrong.
func TestListInvalidJobs(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	for _, m := range []*nats.Msg{
		{Subject: "jobs.ci.file.a%2eb", Header: nats.Header{"Nats-Msg-Id": {"x"}}},
		{Subject: "jobs.ci.build.1", Header: nats.Header{"Job-Timeout": {"soon"}, "Job-Kind": {"k"}, "Nats-Msg-Id": {"y"}}},
		{Subject: "jobs.ci.build.1", Data: []byte{0xff}},
	} {
		if _, err := js.PublishMsg(within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := streams.ListJobs(within(t), js, ci, streams.JobFilter{})
	if err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	if jobs[0].Entity != "file.a%2eb" || !strings.Contains(jobs[0].Invalid, "canonical") || jobs[0].ID != "x" {
		t.Errorf("%+v", jobs[0])
	}
	if jobs[1].Entity != "build.1" || !strings.Contains(jobs[1].Invalid, "soon") || jobs[1].ID != "y" || jobs[1].Kind != "k" {
		t.Errorf("%+v", jobs[1])
	}
	job, err := streams.GetJob(within(t), js, ci, 3)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(job); err != nil || !strings.Contains(string(text), `"data":{"base64":"/w=="}`) {
		t.Error(string(text), err)
	}
}

func TestScanStops(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	publishN(t, js, ci, 20)
	seen := 0
	if err := streams.Scan(within(t), js, "JOBS_ci", streams.ScanOptions{LastPerSubject: true}, func(streams.Message) bool { seen++; return seen < 5 }); err != nil || seen != 5 {
		t.Fatal(seen, err)
	}
	// Messages that go while they are read are no reason to wait for them.
	seen = 0
	err := streams.Scan(within(t), js, "DEAD_ci", streams.ScanOptions{}, func(streams.Message) bool { seen++; return true })
	if err != nil || seen != 0 {
		t.Fatal(seen, err)
	}
	if err := streams.Scan(within(t), js, "NONE", streams.ScanOptions{}, nil); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
}

// Bodies of any size, in several pulls.
func TestScanBodies(t *testing.T) {
	js := natstest.Start(t, natstest.MaxPayload(12<<20)).JetStream()
	makeQueue(t, js, ci)
	var sizes []int
	for i := range 1300 {
		sizes = append(sizes, i)
	}
	for range 30 {
		sizes = append(sizes, 700<<10)
	}
	sizes = append(sizes, 10<<20, 5, 9<<20, 0)
	for i, size := range sizes {
		if _, err := js.Publish(within(t), fmt.Sprint("claims.ci.build.", i), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	err := streams.Scan(within(t), js, "CLAIMS_ci", streams.ScanOptions{Bodies: true}, func(m streams.Message) bool {
		if m.Size != sizes[seen] || len(m.Data) != sizes[seen] {
			t.Fatalf("message %d has %d bytes of %d", seen, m.Size, sizes[seen])
		}
		seen++
		return true
	})
	if err != nil || seen != len(sizes) {
		t.Fatalf("%d of %d: %v", seen, len(sizes), err)
	}
}

// The stream vanishes under the scan.
func TestScanOfAStreamThatGoes(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	publishN(t, js, ci, 600)
	seen := 0
	err := streams.Scan(within(t), js, "JOBS_ci", streams.ScanOptions{}, func(streams.Message) bool {
		if seen++; seen == 1 {
			if err := js.DeleteStream(within(t), "JOBS_ci"); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err == nil || seen >= 600 {
		t.Fatal(seen, err)
	}
}

func TestQueueInfo(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	empty, err := streams.QueueInfo(ctx, js, ci)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(empty)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name", "jobs", "lanes", "runnable", "running", "retrying", "dead", "scheduled", "oldest_age_seconds", "replicas", "paused"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("the contract's key %s is not there", key)
		}
	}
	if empty.Jobs != 0 || empty.OldestAgeSeconds != 0 || len(empty.Drift) != 0 || !empty.Policy.Equal(p) || empty.Paused || empty.Name != "ci" {
		t.Fatalf("%+v", empty)
	}

	publishN(t, js, ci, 5)
	for range 3 {
		if _, _, err := publish(t, js, ci, "build.0", streams.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	turns, err := js.Consumer(ctx, "TURNS_ci", "workers")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := turns.Next(); err != nil {
		t.Fatal(err)
	}
	for subject, body := range map[string]string{
		"claims.ci.build.0": `{"state":"waiting"}`, "claims.ci.build.1": `{"state":"running"}`, "claims.ci.build.2": `{"state":"halted"}`, "claims.ci.build.3": `?`,
		"$KV.LANES_ci.build.7": `{}`, "$KV.LANES_ci.build.8": `{}`,
	} {
		if _, err := js.Publish(ctx, subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := js.KeyValue(ctx, "LANES_ci")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(ctx, "build.8"); err != nil {
		t.Fatal(err)
	}
	later := nats.NewMsg("schedule.ci.one")
	later.Header = nats.Header{"Nats-Schedule": {"@at " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, "Nats-Schedule-Target": {"due.ci.build.1"}}
	if _, err := js.PublishMsg(ctx, later); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "due.ci.build.1", nil); err != nil {
		t.Fatal(err)
	}
	die(t, js, 5, streams.Death{Cause: "failed"})
	putSession(t, js, streams.SessionRecord{Session: "s1", Worker: "w1", State: streams.StateRunning, LeaseMS: 3600_000, Queues: []string{"ci", "mail"}, Slots: 5, Busy: 4, BusyByQueue: map[string]int{"ci": 3, "mail": 1}})
	putSession(t, js, streams.SessionRecord{Session: "s2", Worker: "w2", State: streams.StateStopped, LeaseMS: 3600_000, Queues: []string{"ci"}, BusyByQueue: map[string]int{"ci": 3}})

	i := waitRunnable(t, js, ci, 4)
	if i.Jobs != 7 || i.Lanes != 4 || i.Running != 3 || i.Retrying != 1 || i.Halted != 1 || i.Partial || i.Dead != 1 ||
		i.Scheduled != 2 || i.PausedLanes != 1 || i.Workers != 1 || i.Slots != 5 || i.OldestAgeSeconds <= 0 || i.Bytes == 0 {
		t.Fatalf("%+v", i)
	}
	if _, err := js.PauseConsumer(ctx, "TURNS_ci", "workers", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if i, err = streams.QueueInfo(ctx, js, ci); err != nil || !i.Paused || len(i.Drift) != 0 {
		t.Fatalf("%+v %v", i, err)
	}
	if _, err := streams.QueueInfo(ctx, js, "none"); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Fatal(err)
	}
}
