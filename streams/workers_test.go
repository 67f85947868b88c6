package streams_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

func putSession(t *testing.T, js jetstream.JetStream, r streams.SessionRecord) {
	t.Helper()
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(within(t), "$KV.WORKERS."+r.Session, text); err != nil {
		t.Fatal(err)
	}
}

func TestSessionRecordJSON(t *testing.T) {
	r := streams.SessionRecord{
		Session: "s", State: "running", Worker: "w", Host: "h", PID: 7, StartedAt: time.Unix(0, 0).UTC(), BeatAt: time.Unix(1, 0).UTC(), LeaseMS: 15000,
		Queues: []string{"ci"}, Slots: 2, Busy: 1, RSSBytes: 9, Children: []streams.ChildRecord{{PID: 8, Pool: "p", State: "ready", RSSBytes: 4, Jobs: 1}},
	}
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"session":"s","state":"running","id":"w","host":"h","pid":7,"started_at":"1970-01-01T00:00:00Z","beat_at":"1970-01-01T00:00:01Z",` +
		`"lease_ms":15000,"queues":["ci"],"slots":2,"busy":1,"rss_bytes":9,"children":[{"pid":8,"pool":"p","state":"ready","rss_bytes":4,"jobs":1}]}`
	if string(text) != want {
		t.Fatalf("the contract changed:\n%s\n%s", text, want)
	}
	if bare, err := (streams.SessionRecord{}).Encode(); err != nil || !strings.Contains(string(bare), `"queues":[],`) || !strings.Contains(string(bare), `"children":[]`) {
		t.Fatal(string(bare), err)
	}
	if back, err := streams.DecodeSession([]byte(strings.Replace(want, `"v":1`, `"v":1,"colour":"red"`, 1))); err != nil || back.Worker != "w" || back.Lease() != 15*time.Second {
		t.Fatal(back, err)
	}
	if back, err := streams.DecodeSession([]byte(`{"v":2,"session":"s","slots":{"new":1}}`)); !errors.Is(err, streams.ErrNewerRecord) || back.Session != "s" {
		t.Fatal(back, err)
	}
	if _, err := streams.DecodeSession([]byte(`nonsense`)); err == nil || errors.Is(err, streams.ErrNewerRecord) {
		t.Fatal(err)
	}
}

// A list has every worker that lives, however often they beat meanwhile.
func TestListWorkersWhileTheyBeat(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	all := []string{"a", "b", "c"}
	for _, session := range all {
		putSession(t, js, streams.SessionRecord{Session: session, Worker: session, State: streams.StateRunning, LeaseMS: 60_000, Queues: []string{"ci"}})
	}
	body, err := streams.SessionRecord{Worker: "again", State: streams.StateRunning, LeaseMS: 60_000, Queues: []string{"ci"}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(within(t))
	var beats sync.WaitGroup
	defer beats.Wait()
	defer stop()
	for _, session := range all {
		beats.Go(func() {
			for ctx.Err() == nil {
				_, _ = js.Publish(ctx, "$KV.WORKERS."+session, body) // the end interrupts one
			}
		})
	}
	for range 500 {
		workers, err := streams.ListWorkers(within(t), js)
		if err != nil || len(workers) != len(all) {
			t.Fatalf("%d of %d workers are listed, %v", len(workers), len(all), err)
		}
	}
}

func TestListWorkers(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	if got, err := streams.ListWorkers(ctx, js); err != nil || got == nil || len(got) != 0 {
		t.Fatal("without a bucket:", got, err)
	}
	makeQueue(t, js, ci)
	const hour = 3600_000
	began := time.Now().UTC().Truncate(time.Second)
	for _, r := range []streams.SessionRecord{
		{Session: "a", Worker: "w2", State: streams.StateQuiet, LeaseMS: hour, BeatAt: began.Add(-time.Hour)},
		{Session: "b", Worker: "w1", State: streams.StateRunning, LeaseMS: hour, StartedAt: began},
		{Session: "c", Worker: "w1", State: streams.StateDead, LeaseMS: hour, StartedAt: began.Add(-time.Minute), BeatAt: began.Add(-time.Hour)},
		{Session: "d", Worker: "w3", State: streams.StateRunning, LeaseMS: 0},
		{Session: "e", Worker: "w4", State: streams.StateStopped, LeaseMS: 0},
		{Session: "f", Worker: "w5", State: streams.StateRunning, LeaseMS: hour},
	} {
		putSession(t, js, r)
	}
	kv, err := js.KeyValue(ctx, "WORKERS")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(ctx, "f"); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"g": "nonsense", "h": `{"v":9,"session":"h","id":"w9","state":"floating","lease_ms":3600000}`} {
		if _, err := kv.PutString(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	// A lease of nothing is over at once, so nobody has to wait.
	workers, err := streams.ListWorkers(ctx, js)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workers {
		got = append(got, w.Worker+w.Session+" "+w.State)
		switch w.Session {
		case "c":
			if !w.BeatAt.Equal(began.Add(-time.Hour)) {
				t.Errorf("the verdict is shown as a beat at %s", w.BeatAt)
			}
		case "a":
			if w.BeatAt.Before(began.Add(-time.Minute)) {
				t.Errorf("the beat is the holder's own: %s", w.BeatAt)
			}
		}
	}
	if s := strings.Join(got, ", "); s != "w1c lost, w1b running, w2a quiet, w3d lost, w4e stopped, w9h floating" {
		t.Fatal(s)
	}

	for id, refused := range map[string]bool{"w1": true, "w2": true, "w3": false, "w4": false, "new": false} {
		err := streams.CheckWorkerID(ctx, js, id, "")
		if refused != errors.Is(err, streams.ErrWorkerAlive) || !refused && err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if refused && (!strings.Contains(err.Error(), id) || !strings.Contains(problem.Hint(err), "1h0m0s")) {
			t.Errorf("%v: %s", err, problem.Hint(err))
		}
	}
	// Two at once: the record that was stored first wins.
	putSession(t, js, streams.SessionRecord{Session: "x", Worker: "twin", State: streams.StateStarting, LeaseMS: hour})
	putSession(t, js, streams.SessionRecord{Session: "y", Worker: "twin", State: streams.StateStarting, LeaseMS: hour})
	check := func() {
		t.Helper()
		if err := streams.CheckWorkerID(ctx, js, "twin", "x"); err != nil {
			t.Error(err)
		}
		if err := streams.CheckWorkerID(ctx, js, "twin", "y"); !errors.Is(err, streams.ErrWorkerAlive) {
			t.Error(err)
		}
	}
	check()
	// The older one beats meanwhile: its record is the later one now, and says when it was not.
	first := must[uint64](t)(lastOf(t, js, "KV_WORKERS", "$KV.WORKERS.x"))
	putSession(t, js, streams.SessionRecord{Session: "x", Worker: "twin", State: streams.StateRunning, LeaseMS: hour, FirstSeq: first})
	check()
}

// A worker that asks before it has written its record is told so, and not that all is well.
func TestCheckWorkerIDNeedsARecord(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := streams.CheckWorkerID(ctx, js, "w", "nowhere"); err == nil {
		t.Fatal("passed")
	}
}

func TestNamesOfWorkers(t *testing.T) {
	ids := map[string]bool{}
	for range 100 {
		for _, id := range []string{streams.NewSessionID(), streams.NewWorkerID()} {
			if ids[id] || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") != "" {
				t.Fatal(id)
			}
			ids[id] = true
		}
	}
	for lease, want := range map[time.Duration]time.Duration{15 * time.Second: 150 * time.Second, 3*time.Second + 10*time.Millisecond: 31 * time.Second} {
		if got := streams.RecordTTL(lease); got != want {
			t.Errorf("%s: %s", lease, got)
		}
	}
	if text, err := json.Marshal([]streams.SessionRecord{}); err != nil || string(text) != "[]" {
		t.Fatal(string(text), err)
	}
}
