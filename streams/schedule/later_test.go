package schedule

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Delays of less than a second, and more, come once each, complete, and never early by the server's clock.
func TestDelayedJobsComeOnceAndNotEarly(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	due := map[string]time.Time{}
	for i := range 40 {
		o := streams.PublishOptions{Kind: "k", ID: fmt.Sprint("j", i), Data: fmt.Append(nil, i), Header: map[string][]string{"X-Own": {"a b"}}}
		d, err := Publish(within(t), js, ci, entity(t, i), o, When{In: time.Duration(i)*37*time.Millisecond + 123456*time.Nanosecond})
		if err != nil || d.Duplicate() {
			t.Fatal(d, err)
		}
		due[d.ID] = d.DueAt
	}
	for _, w := range []string{"a", "b", "c"} {
		keep(t, s.URL(), w)
	}
	until(t, "all are there", func() bool { return len(jobs(t, js)) >= len(due) })
	for _, m := range jobs(t, js) {
		h, err := subjects.ReadJobHeader(ci, m.Seq, m.Header)
		if err != nil {
			t.Fatal(err)
		}
		at, ok := due[h.ID]
		delete(due, h.ID)
		if !ok || h.Kind != "k" || h.Own["X-Own"] != "a b" || len(h.Own) != 1 || "j"+string(m.Data) != h.ID {
			t.Errorf("%+v %s", h, m.Data)
		}
		if m.Time.Before(at) {
			t.Errorf("%s is %v early", h.ID, at.Sub(m.Time))
		}
	}
	if len(due) != 0 {
		t.Error("missing:", due)
	}
	until(t, "nothing is left", func() bool {
		info, err := streams.QueueInfo(within(t), js, ci)
		if err != nil {
			t.Fatal(err)
		}
		st, err := js.Stream(within(t), ci.ScheduleStream())
		return err == nil && info.Scheduled == 0 && st.CachedInfo().State.Msgs == 0
	})
}

// A job that goes out of its lane for a while comes back as it was.
func TestLaterMovesAJob(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	seq, _, err := streams.Publish(within(t), js.Conn(), ci, entity(t, 1), streams.PublishOptions{Kind: "k", Data: []byte("body"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	m, err := streams.GetMessage(within(t), js, ci.JobsStream(), seq)
	if err != nil {
		t.Fatal(err)
	}
	m.Header["Retry-Counts"] = []string{"2"}
	when := time.Now().Add(time.Hour)
	for i, want := range []bool{false, true} {
		if duplicate, err := Later(within(t), js.Conn(), ci, m, when, 1); err != nil || duplicate != want {
			t.Fatal(i, duplicate, err)
		}
	}
	if _, err := streams.DeleteMessage(within(t), js, ci.JobsStream(), seq); err != nil {
		t.Fatal(err)
	}
	info, err := streams.QueueInfo(within(t), js, ci)
	if err != nil || info.Scheduled != 1 || info.Jobs != 0 {
		t.Fatal(info.Scheduled, info.Jobs, err)
	}
	list, err := ListDelayed(within(t), js, ci, 0)
	if err != nil || len(list) != 1 || list[0].ID != "ci-1" || list[0].Entity != "build.1" || !list[0].DueAt.Equal(when) {
		t.Fatalf("%+v %v", list, err)
	}
	when = time.Now().Add(300 * time.Millisecond)
	if duplicate, err := Later(within(t), js.Conn(), ci, m, when, 2); err != nil || duplicate {
		t.Fatal(duplicate, err)
	}
	keep(t, s.URL(), "a")
	until(t, "it is back", func() bool { return len(jobs(t, js)) == 1 })
	back := jobs(t, js)[0]
	h, err := subjects.ReadJobHeader(ci, back.Seq, back.Header)
	if err != nil || h.ID != "ci-1" || h.Timeout != time.Minute || string(back.Data) != "body" || h.Own["Retry-Counts"] != "2" || len(h.Own) != 1 {
		t.Fatalf("%+v %v %+v", h, err, back)
	}
	if back.Time.Before(when) {
		t.Error("early by", when.Sub(back.Time))
	}
}

// As long as a job waits, another of its id is a duplicate; a cancelled one never comes.
func TestDelayedJobsByTheirID(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	o := streams.PublishOptions{ID: "x y/ö"}
	for i, want := range []bool{false, true} {
		d, err := Publish(within(t), js, ci, entity(t, 1), o, When{In: time.Hour})
		if err != nil || d.Duplicate() != want {
			t.Fatal(i, d, err)
		}
	}
	if err := Cancel(within(t), js, ci, "x y/ö"); err != nil {
		t.Fatal(err)
	}
	if err := Cancel(within(t), js, ci, "x y/ö"); !errors.Is(err, streams.ErrNotFound) {
		t.Fatal(err)
	}
	if list, err := ListDelayed(within(t), js, ci, 0); err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
}

// What any NATS client may do: a schedule of the server, on a subject of its own.
func TestAnyClientCanDelay(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	m := natsMsg("schedule.ci.later.mine", "hello", "Nats-Schedule", "@at "+time.Now().Add(200*time.Millisecond).Format(time.RFC3339Nano),
		"Nats-Schedule-Target", "due.ci.build.7", "Job-Kind", "archive", "Job-Id", "mine-7")
	if _, err := js.PublishMsg(within(t), m); err != nil {
		t.Fatal(err)
	}
	keep(t, s.URL(), "a")
	until(t, "it is there", func() bool { return len(jobs(t, js)) == 1 })
	got := jobs(t, js)[0]
	h, err := subjects.ReadJobHeader(ci, got.Seq, got.Header)
	if err != nil || h.ID != "mine-7" || h.Kind != "archive" || got.Subject != "jobs.ci.build.7" || string(got.Data) != "hello" {
		t.Fatalf("%+v %v", got, err)
	}
}

// A job that its lane does not take waits while the queue is full, and is dead when it is too large.
func TestDueJobsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js, func(p *streams.Policy) { p.MaxMsgs = 1 })
	if _, _, err := streams.Publish(within(t), js.Conn(), ci, entity(t, 1), streams.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(within(t), js, ci, entity(t, 2), streams.PublishOptions{ID: "waits"}, When{In: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(within(t), js, ci, entity(t, 3), streams.PublishOptions{ID: "large", Data: make([]byte, 5000)}, When{In: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.EditQueue(within(t), js, ci, func(p *streams.Policy) { p.MaxJobSize = 2000 }); err != nil {
		t.Fatal(err)
	}
	keep(t, s.URL(), "a")
	until(t, "the large one is dead", func() bool {
		dead, err := streams.ListDead(within(t), js, ci, streams.DeadFilter{})
		if err != nil {
			t.Fatal(err)
		}
		return len(dead) == 1 && dead[0].ID == "large" && dead[0].Entity == "build.3" && strings.Contains(dead[0].Error, "exceeds")
	})
	if list := jobs(t, js); len(list) != 1 || list[0].Seq != 1 {
		t.Fatal(list)
	}
	if _, err := streams.DeleteMessage(within(t), js, ci.JobsStream(), 1); err != nil {
		t.Fatal(err)
	}
	until(t, "the other one is there", func() bool {
		list := jobs(t, js)
		return len(list) == 1 && list[0].Subject == "jobs.ci.build.2"
	})
}

// A burst is moved whole, each job once, by several workers.
func TestManyDueAtOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	const n = 3000
	when := time.Now().Add(time.Second)
	for i := range n {
		m := delayed(ci, fmt.Sprint("t", i), fmt.Sprint("build.", i%100), nil, fmt.Append(nil, i), when)
		if _, err := js.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	keep(t, s.URL(), "a")
	keep(t, s.URL(), "b")
	until(t, "all are there", func() bool { return len(jobs(t, js)) >= n })
	seen := map[string]bool{}
	for _, m := range jobs(t, js) {
		if seen[string(m.Data)] {
			t.Errorf("job %s twice", m.Data)
		}
		seen[string(m.Data)] = true
	}
}
