package schedule

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// add makes a schedule, in one of the ways that need no care.
func add(t *testing.T, js jetstream.JetStream, n New) Schedule {
	t.Helper()
	if n.Entity == (subjects.Entity{}) {
		n.Entity = entity(t, 1)
	}
	s, did, err := Add(within(t), js, ci, n)
	if err != nil || did != Created {
		t.Fatal(did, err)
	}
	return s
}

// addIn makes a schedule of a single time, that is not over before it is made.
func addIn(t *testing.T, js jetstream.JetStream, n New, in time.Duration) Schedule {
	t.Helper()
	n.Spec.At, n.In = time.Now(), in
	return add(t, js, n)
}

// past sets the clock of a schedule back, as if nobody had fired it for so long.
func past(t *testing.T, js jetstream.JetStream, name string, ago time.Duration) {
	t.Helper()
	_, changed, err := change(within(t), js, "set back", ci, name, func(s *Schedule, now time.Time) bool {
		s.Spec.Start = s.Spec.Start.Add(-ago)
		s.Next = s.Next.Add(-ago)
		return true
	})
	if err != nil || !changed {
		t.Fatal(err)
	}
}

func get(t *testing.T, js jetstream.JetStream, name string) Schedule {
	t.Helper()
	s, err := Get(within(t), js, ci, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Five workers, one of which is always being replaced: each time fires once, and none early.
func TestOneFiringPerTime(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	add(t, js, New{Name: "tick", Spec: Spec{Every: Duration(time.Second)}, Job: streams.PublishOptions{Kind: "k", Data: []byte("x")}})
	start := get(t, js, "tick").Spec.Start
	var keepers []*Keeper
	for i := range 5 {
		keepers = append(keepers, keep(t, s.URL(), fmt.Sprint("w", i)))
	}
	const n = 6
	for i := 0; len(jobs(t, js)) < n; i++ {
		until(t, "one more", func() bool { return len(jobs(t, js)) > i })
		// The one who fired goes.
		if by := get(t, js, "tick").By; by != "" {
			var k int
			if _, err := fmt.Sscanf(by, "w%d", &k); err != nil {
				t.Fatal(err)
			}
			keepers[k%5].Stop(within(t))
			keepers[k%5] = keep(t, s.URL(), fmt.Sprint("w", k+5))
		}
	}
	seen := map[string]bool{}
	for _, m := range jobs(t, js) {
		h, err := subjects.ReadJobHeader(ci, m.Seq, m.Header)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339Nano, h.Own[HeaderTime])
		if err != nil || seen[h.Own[HeaderTime]] || h.Own[HeaderName] != "tick" || at.Sub(start)%time.Second != 0 {
			t.Errorf("%+v %v", h, err)
		}
		seen[h.Own[HeaderTime]] = true
		if m.Time.Before(at) {
			t.Errorf("%s is %v early", h.ID, at.Sub(m.Time))
		}
		if want := get(t, js, "tick").jobID(at); h.ID != want || h.Kind != "k" || string(m.Data) != "x" {
			t.Errorf("%+v", h)
		}
	}
}

// Of many missed times the last one fires, once.
func TestMissedTimesFireOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	add(t, js, New{Name: "hourly", Spec: Spec{Every: Duration(time.Hour)}})
	past(t, js, "hourly", 100*24*time.Hour+30*time.Minute)
	before := get(t, js, "hourly")
	for i := range 3 {
		keep(t, s.URL(), fmt.Sprint("w", i))
	}
	until(t, "it is recorded", func() bool { l := get(t, js, "hourly"); return l.Last != nil && l.Pending == nil })
	after := get(t, js, "hourly")
	now := time.Now()
	if len(jobs(t, js)) != 1 || after.Runs != 1 || now.Sub(after.Last.At) > time.Hour || !after.Next.After(now) || after.Next.Sub(after.Last.At) != time.Hour {
		t.Fatalf("%+v\n%+v\n%d jobs", before.Record, after.Record, len(jobs(t, js)))
	}
}

// A worker that dies between two steps leaves the rest to another.
func TestAPendingTimeIsFinished(t *testing.T) {
	t.Parallel()
	for _, published := range []bool{false, true} {
		t.Run(fmt.Sprint("published ", published), func(t *testing.T) {
			s := natstest.Start(t)
			js := s.JetStream()
			makeQueue(t, js)
			one := add(t, js, New{Name: "hourly", Spec: Spec{Every: Duration(time.Hour)}})
			times, err := one.Spec.Times()
			if err != nil {
				t.Fatal(err)
			}
			at := one.Next
			dying := firing{js: js, q: ci, worker: "dead", s: one, times: times, server: serverTime{told: at.Add(time.Second)}}
			dying.server, err = askTime(within(t), js, ci.ScheduleStream())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := dying.begin(within(t), at); err != nil {
				t.Fatal(err)
			}
			if published {
				if _, err := dying.publish(within(t), at); err != nil {
					t.Fatal(err)
				}
			}
			keep(t, s.URL(), "a")
			keep(t, s.URL(), "b")
			until(t, "it is recorded", func() bool { return get(t, js, "hourly").Last != nil })
			got := get(t, js, "hourly")
			if list := jobs(t, js); len(list) != 1 || got.Last.Seq != list[0].Seq || !got.Last.At.Equal(at) || got.Pending != nil || got.Runs != 1 {
				t.Fatalf("%d jobs, %+v", len(list), got.Record)
			}
		})
	}
}

// What happens while the last run is not finished.
func TestOverlap(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	for i, o := range []Overlap{Queue, Skip, Coalesce} {
		add(t, js, New{Name: string(o), Entity: entity(t, i), Spec: Spec{Every: Duration(time.Hour)}, Overlap: o})
	}
	keep(t, s.URL(), "a")
	fire := func(name string, runs, skipped uint64) Schedule {
		t.Helper()
		past(t, js, name, time.Hour+time.Millisecond) // never the same time twice
		until(t, fmt.Sprintf("%s %d %d", name, runs, skipped), func() bool {
			g := get(t, js, name)
			return g.Pending == nil && g.Runs+g.Skipped == runs+skipped
		})
		g := get(t, js, name)
		if g.Runs != runs || g.Skipped != skipped {
			t.Fatalf("%+v", g.Record)
		}
		return g
	}
	for _, o := range []Overlap{Queue, Skip, Coalesce} {
		fire(string(o), 1, 0)
	}
	fire("queue", 2, 0)
	if g := fire("skip", 1, 1); g.Last.Outcome != Skipped || g.Last.Seq == 0 {
		t.Fatalf("%+v", g.Last)
	}
	first := fire("coalesce", 1, 1) // the first one still waits
	if first.Last.Outcome != Merged {
		t.Fatalf("%+v", first.Last)
	}

	// The first ones are begun.
	claim := func(g Schedule) {
		t.Helper()
		e, err := subjects.ParseEntity(g.Entity)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(map[string]any{"v": 1, "state": "running", "job": g.Last.Seq})
		if _, err := js.Publish(within(t), ci.ClaimSubject(e), text); err != nil {
			t.Fatal(err)
		}
	}
	claim(get(t, js, "skip"))
	claim(first)
	fire("skip", 1, 2)
	second := fire("coalesce", 2, 1) // one may wait behind it
	fire("coalesce", 2, 2)           // and no other

	// They are finished.
	for _, seq := range []uint64{get(t, js, "skip").Last.Seq, first.Last.Seq, second.Last.Seq} {
		if was, err := streams.DeleteMessage(within(t), js, ci.JobsStream(), seq); err != nil || !was {
			t.Fatal(seq, was, err)
		}
	}
	fire("skip", 2, 2)
	fire("coalesce", 3, 2)
}

// A schedule of a single time is gone when that is over.
func TestASingleTime(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	keep(t, s.URL(), "a")
	keep(t, s.URL(), "b")
	when := addIn(t, js, New{Name: "once"}, 1500*time.Millisecond).Spec.At
	until(t, "it is gone", func() bool {
		_, err := Get(within(t), js, ci, "once")
		if err != nil && !errors.Is(err, streams.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	})
	if list := jobs(t, js); len(list) != 1 || list[0].Time.Before(when) {
		t.Fatal(list)
	}
}

// A queue that is full keeps a time pending; what was missed meanwhile comes once.
func TestAFullQueue(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js, func(p *streams.Policy) { p.MaxMsgs = 1 })
	if _, _, err := streams.Publish(within(t), js.Conn(), ci, entity(t, 9), streams.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	add(t, js, New{Name: "hourly", Spec: Spec{Every: Duration(time.Hour)}})
	past(t, js, "hourly", time.Hour)
	keep(t, s.URL(), "a")
	keep(t, s.URL(), "b")
	until(t, "it is pending", func() bool { return get(t, js, "hourly").Pending != nil })
	if _, err := streams.DeleteMessage(within(t), js, ci.JobsStream(), 1); err != nil {
		t.Fatal(err)
	}
	until(t, "it is published", func() bool { return get(t, js, "hourly").Last != nil })
	if g := get(t, js, "hourly"); g.Runs != 1 || g.Skipped != 0 || len(jobs(t, js)) != 1 {
		t.Fatalf("%+v", g.Record)
	}
}

// A server that is killed again and again: what is pending fires once all the same, and not early.
func TestServerIsKilled(t *testing.T) {
	t.Parallel()
	s := natstest.Process(t)
	js := s.JetStream()
	makeQueue(t, js)
	type want struct {
		at time.Time
		n  int
	}
	due := map[string]*want{}
	for i := range 60 {
		o := streams.PublishOptions{ID: fmt.Sprint("d", i)}
		d, err := Publish(within(t), js, ci, entity(t, i), o, When{In: 300*time.Millisecond + time.Duration(i)*100*time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		due[d.ID] = &want{at: d.DueAt}
		if i%4 == 0 {
			n := addIn(t, js, New{Name: fmt.Sprint("n", i), Entity: entity(t, i)}, 800*time.Millisecond+time.Duration(i)*100*time.Millisecond)
			due[n.jobID(n.Spec.At)] = &want{at: n.Spec.At}
		}
	}
	for i := range 3 {
		keep(t, s.URL(), fmt.Sprint("w", i))
	}
	for range 4 {
		time.Sleep(time.Second) // the moment of a kill is as good as any
		s.Kill()
		s.Restart()
	}
	js = s.JetStream()
	until(t, "all are there", func() bool { return len(jobs(t, js)) >= len(due) })
	until(t, "nothing is left", func() bool {
		info, err := streams.QueueInfo(within(t), js, ci)
		return err == nil && info.Scheduled == 0
	})
	for _, m := range jobs(t, js) {
		h, err := subjects.ReadJobHeader(ci, m.Seq, m.Header)
		if err != nil {
			t.Fatal(err)
		}
		w := due[h.ID]
		if w == nil {
			t.Fatalf("%+v", h)
		}
		if w.n++; w.n > 1 {
			t.Errorf("%s came %d times", h.ID, w.n)
		}
		if m.Time.Before(w.at) {
			t.Errorf("%s is %v early", h.ID, w.at.Sub(m.Time))
		}
	}
	for id, w := range due {
		if w.n == 0 {
			t.Errorf("%s never came", id)
		}
	}
}
