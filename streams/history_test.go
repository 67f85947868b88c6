package streams_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

func TestWhichJobsAreRecorded(t *testing.T) {
	tried := []lane.Try{{Cause: "failed"}}
	for _, c := range []struct {
		f              streams.Finished
		failures, some bool
	}{
		{streams.Finished{Outcome: "done"}, false, true},
		{streams.Finished{Outcome: "done", Tries: tried}, true, true},
		{streams.Finished{Outcome: "dead"}, true, true},
		{streams.Finished{Outcome: "halted"}, true, true},
		{streams.Finished{Outcome: "cancelled"}, true, true},
	} {
		if c.f.Wanted(streams.HistoryFailures) != c.failures || !c.f.Wanted(streams.HistoryAll) || c.f.Wanted(streams.HistoryOff) {
			t.Errorf("%+v", c.f)
		}
	}
}

func TestFinishedJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := streams.Finished{
		Seq: 9, ID: "a", Kind: "archive", Entity: "build.1", Outcome: "dead", Cause: "failed", Error: "<disk>\nfull", Attempts: 2, Interrupted: 1,
		Worker: "w", Fence: 41, PublishedAt: at, StartedAt: at.Add(time.Second), EndedAt: at, TookMS: 1500, Log: "a\nb\n",
		Tries: []lane.Try{{Worker: "s", Fence: 40, Start: 1, End: 2, Cause: "failed", Error: "e", Log: "l\n"}},
	}
	m := f.Message(ci, "build.1")
	const want = `{"v":1,"seq":9,"id":"a","kind":"archive","entity":"build.1","outcome":"dead","cause":"failed","error":"<disk> full","attempts":2,"interrupted":1,` +
		`"worker":"w","fence":41,"published_at":"2026-01-02T03:04:05Z","started_at":"2026-01-02T03:04:06Z","took_ms":1500,"log":"a\nb\n",` +
		`"tries":[{"worker":"s","fence":40,"start":1,"end":2,"cause":"failed","error":"e","log":"l\n"}]}`
	if m.Subject != "history.ci.build.1" || string(m.Data) != want {
		t.Fatalf("the contract changed:\n%s\n%s\n%s", m.Subject, m.Data, want)
	}
}

// However long texts are, and whatever is in them, a record stays small and can be read.
func TestRecordsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string, most int) string {
			return strings.Repeat(rapid.SampledFrom([]string{"a", "\n", "\x00", "\x1b", "ü", "\xff", `"`}).Draw(t, label), rapid.IntRange(0, most).Draw(t, "n"))
		}
		f := streams.Finished{Seq: 1, ID: text("id", 300), Kind: "k", Entity: "a.b", Outcome: "dead", Error: text("error", 3000), Log: text("log", 5000)}
		for range rapid.IntRange(0, 10).Draw(t, "tries") {
			f.Tries = append(f.Tries, lane.Try{Worker: "s", Cause: "failed", Error: text("try", 300), Log: text("trylog", 400)})
		}
		if m := f.Message(ci, "a.b"); len(m.Data) > 16<<10 {
			t.Fatalf("%d bytes", len(m.Data))
		}
	})
}

func store(t *testing.T, js jetstream.JetStream, f streams.Finished) {
	t.Helper()
	e, err := subjects.ParseEntity(f.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(within(t), f.Message(ci, e.Token())); err != nil {
		t.Fatal(err)
	}
}

func TestHistory(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	start := time.Now()
	for i := range uint64(30) {
		store(t, js, streams.Finished{
			Seq: i + 1, ID: fmt.Sprint("job-", i+1), Kind: []string{"archive", "mail"}[i%2], Entity: fmt.Sprint("file.a/b.", i%3),
			Outcome: []string{"done", "dead", "cancelled"}[i%3], Attempts: 1,
		})
	}
	store(t, js, streams.Finished{Seq: 7, ID: "job-7", Kind: "archive", Entity: "file.a/b.0", Outcome: "done", Attempts: 4, Log: "second\n"})
	if _, err := js.Publish(ctx, "history.ci.file.x", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "history.ci.file.x", []byte(`{"v":99}`)); err != nil {
		t.Fatal(err)
	}

	other := subjects.Entity{Type: "file", ID: "a/b.1"}
	same := subjects.Entity{Type: "file", ID: "a/b.0"}
	for _, ref := range []streams.JobRef{{Seq: 7}, {ID: "job-7"}, {Seq: 7, Entity: &same}, {ID: "job-7", Entity: &same}} {
		f, err := streams.FindFinished(ctx, js, ci, ref)
		if err != nil || f.Attempts != 4 || f.Log != "second\n" || f.EndedAt.Before(start.Add(-time.Minute)) {
			t.Fatalf("%v: %+v, %v", ref, f, err)
		}
	}
	for _, ref := range []streams.JobRef{{Seq: 99}, {ID: "nobody"}, {Seq: 7, Entity: &other}} {
		if _, err := streams.FindFinished(ctx, js, ci, ref); !errors.Is(err, streams.ErrNotFound) {
			t.Fatalf("%v: %v", ref, err)
		}
	}

	for name, c := range map[string]struct {
		f    streams.FinishedFilter
		want int
	}{
		"all":     {streams.FinishedFilter{}, 31},
		"kind":    {streams.FinishedFilter{Kind: "mail"}, 15},
		"outcome": {streams.FinishedFilter{Outcome: "dead"}, 10},
		"entity":  {streams.FinishedFilter{Entities: []subjects.Entity{other}}, 10},
		"since":   {streams.FinishedFilter{Since: start.Add(time.Hour)}, 0},
		"until":   {streams.FinishedFilter{Until: start.Add(time.Hour)}, 31},
		"limit":   {streams.FinishedFilter{Limit: 3}, 3},
	} {
		list, err := streams.ListFinished(ctx, js, ci, c.f)
		if err != nil || len(list) != c.want {
			t.Errorf("%s: %d, %v", name, len(list), err)
		}
	}
	list, err := streams.ListFinished(ctx, js, ci, streams.FinishedFilter{Limit: 2})
	if err != nil || list[0].Seq != 30 || list[1].Seq != 7 {
		t.Fatal("the newest are not last", err)
	}
	list[0].EndedAt = time.Time{}
	want := streams.Finished{V: 1, Seq: 30, ID: "job-30", Kind: "mail", Entity: "file.a/b.2", Outcome: "cancelled", Attempts: 1}
	if d := cmp.Diff(want, list[0]); d != "" {
		t.Fatal(d)
	}
}

// Limits of age and count, on a real server.
func TestHistoryIsBounded(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci, func(p *streams.Policy) { p.HistoryMaxMsgs = 5 })
	for i := range uint64(9) {
		store(t, js, streams.Finished{Seq: i + 1, Entity: "build.1", Outcome: "done"})
	}
	list, err := streams.ListFinished(ctx, js, ci, streams.FinishedFilter{})
	if err != nil || len(list) != 5 || list[0].Seq != 5 {
		t.Fatal(len(list), err)
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.HistoryMaxAge = time.Second }); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); stream(t, js, "HISTORY_ci").State.Msgs > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("old records stay")
		}
	}
}

func TestNoHistory(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	if err := js.DeleteStream(ctx, "HISTORY_ci"); err != nil {
		t.Fatal(err)
	}
	_, err := streams.FindFinished(ctx, js, ci, streams.JobRef{Seq: 1})
	if !errors.Is(err, streams.ErrNotFound) || !strings.Contains(problem.Hint(err), "queue edit ci") {
		t.Fatal(err, problem.Hint(err))
	}
	if _, err := streams.ListFinished(ctx, js, ci, streams.FinishedFilter{}); !errors.Is(err, streams.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := streams.FindFinished(ctx, js, "none", streams.JobRef{Seq: 1}); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Fatal(err)
	}
}
