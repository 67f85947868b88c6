package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Who waits learns how a job ended from the stores when no reply comes: here none ever does, because there is no worker;
// the test does what one would have done.
func TestWaitWithoutAReply(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	url := natstest.Start(t).URL()
	if code, _, errs := run(t, &App{}, url, "", "queue", "add", "ci"); code != 0 {
		t.Fatal(errs)
	}
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	remove := func(m streams.Message) {
		if _, err := streams.DeleteMessage(ctx, js, "JOBS_ci", m.Seq); err != nil {
			t.Error(err)
		}
	}
	publish := func(m *nats.Msg) {
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Error(err)
		}
	}
	record := func(m streams.Message, outcome string) {
		lane, _ := subjects.LaneOf(m.Subject)
		f := streams.Finished{Seq: m.Seq, ID: lane[len("build."):], Kind: "default", Entity: lane, Outcome: outcome, Attempts: 2, Error: "an error"}
		publish(f.Message("ci", lane))
		remove(m)
	}
	ends := map[string]struct {
		end  func(streams.Message)
		code int
		says string
	}{
		"done":      {func(m streams.Message) { record(m, "done") }, 0, `"outcome": "done"`},
		"cancelled": {func(m streams.Message) { record(m, "cancelled") }, 1, "job cancelled of build.cancelled is cancelled: an error"},
		"dead": {func(m streams.Message) {
			publish(streams.DeadMessage("ci", m, streams.Death{Cause: "failed", Error: "disk full", Attempts: 5}))
			remove(m)
		}, 1, "is dead (failed): disk full"},
		"halted": {func(m streams.Message) {
			r := lane.Record{State: lane.Halted, Job: m.Seq, Cause: "crashed", Error: "signal 9"}
			if _, err := js.Publish(ctx, "claims.ci.build.halted", r.Encode()); err != nil {
				t.Error(err)
			}
		}, 1, "is halted (crashed): signal 9"},
		"gone": {remove, 1, "nothing tells how it ended"},
	}

	type result struct {
		name string
		code int
		text string
	}
	results := make(chan result)
	for name := range ends {
		go func() {
			code, out, errs := run(t, &App{}, url, "", "job", "publish", "ci", "build."+name, "--id", name, "--wait", "--json")
			results <- result{name, code, out + errs}
		}()
	}
	for name, e := range ends {
		for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			m, err := streams.FirstMessage(ctx, js, "JOBS_ci", "jobs.ci.build."+name)
			if err == nil {
				e.end(m)
				break
			}
			if time.Now().After(until) {
				t.Fatal(name, " was never published")
			}
		}
	}
	for range ends {
		r := <-results
		if want := ends[r.name]; r.code != want.code || !strings.Contains(r.text, want.says) {
			t.Errorf("%s: exit code %d, want %d with %q: %s", r.name, r.code, want.code, want.says, r.text)
		}
	}
}

// A reply is sent after the record of its job: who reads the record in between is given the reply none the less, which alone
// has the result.
func TestWhoReadsTheRecordFirstGetsTheResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &outcome{replies: make(chan *nats.Msg, 2)}
		stored := streams.Reply{Outcome: "done", Seq: 7}
		if r := w.last(t.Context(), stored); r.Seq != stored.Seq || r.Result != "" {
			t.Errorf("without a reply: %+v", r)
		}
		go func() {
			time.Sleep(replyGrace / 2)
			w.replies <- &nats.Msg{Data: []byte(`{"outcome":"progress","at":1}`)}
			w.replies <- &nats.Msg{Data: []byte(`{"outcome":"done","result":"42"}`)}
		}()
		if r := w.last(t.Context(), stored); r.Result != "42" {
			t.Errorf("the reply was not waited for: %+v", r)
		}
	})
}

func TestWaitEnds(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	url := natstest.Start(t).URL()
	if code, _, errs := run(t, &App{}, url, "", "queue", "add", "ci"); code != 0 {
		t.Fatal(errs)
	}
	code, _, errs := run(t, &App{}, url, "", "job", "publish", "ci", "build.1", "--wait", "--wait-timeout", "50ms")
	if code != 1 || !strings.Contains(errs, "job ci-1 of build.1 is not over after 50ms") || !strings.Contains(errs, "hint: the job goes on") {
		t.Fatal(code, errs)
	}
	code, _, errs = run(t, &App{}, url, "", "job", "publish", "ci", "build.2", "--in", "1h", "--id", "x", "--wait", "--wait-timeout", "3s")
	if code != 1 || !strings.Contains(errs, "job x of build.2 is not over") {
		t.Fatal(code, errs)
	}
}

// Of jobs that are published in one moment only the last one comes, when there was silence for long enough.
func TestDebounce(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	url := natstest.Start(t).URL()
	if code, _, errs := run(t, &App{}, url, "", "queue", "add", "ci"); code != 0 {
		t.Fatal(errs)
	}
	publish := func(args ...string) string {
		t.Helper()
		code, out, errs := run(t, &App{}, url, "", append([]string{"job", "publish", "ci"}, args...)...)
		if code != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	for i := range 5 {
		publish("build.1", "--data", fmt.Sprint(i), "--debounce", "1h")
	}
	publish("build.1", "--kind", "other", "--data", "x", "--debounce", "1h")
	publish("build.2", "--data", "y", "--debounce", "1h")
	last := publish("build.1", "--data", "last", "--debounce", "1h")
	code, out, errs := run(t, &App{}, url, "", "schedule", "ls", "ci", "--jobs", "--json")
	if code != 0 {
		t.Fatal(errs)
	}
	var list []struct{ ID, Entity string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err, out)
	}
	if len(list) != 3 || list[2].ID != last || list[2].Entity != "build.1" {
		t.Fatalf("%v", list)
	}
	if got := publish("build.1", "--id", "mine", "--data", "z", "--debounce", "1h"); got != "mine" {
		t.Fatal(got)
	}
}
