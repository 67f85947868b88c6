package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Each call replaces the one before it and puts it off; the last one comes, once, and others are not touched.
func TestDebounce(t *testing.T) {
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js)
	for _, w := range []string{"a", "b"} {
		keep(t, s.URL(), w)
	}
	const quiet = 4 * time.Second // longer than a slow host is silent
	var last Delayed
	for i := range 8 {
		d, err := Debounce(within(t), js, ci, entity(t, 1), streams.PublishOptions{Data: fmt.Append(nil, i)}, quiet)
		if err != nil || d.Duplicate() || !d.DueAt.After(last.DueAt) {
			t.Fatalf("%+v after %+v, %v", d, last, err)
		}
		last = d
		if i < 7 {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if _, err := Debounce(within(t), js, ci, entity(t, 1), streams.PublishOptions{Kind: "other", ID: "o"}, quiet); err != nil {
		t.Fatal(err)
	}
	if _, err := Debounce(within(t), js, ci, entity(t, 2), streams.PublishOptions{ID: "e"}, quiet); err != nil {
		t.Fatal(err)
	}
	until(t, "three jobs", func() bool { return len(jobs(t, js)) >= 3 })
	got := map[string]string{}
	for _, m := range jobs(t, js) {
		h, err := subjects.ReadJobHeader(ci, m.Seq, m.Header)
		if err != nil {
			t.Fatal(err)
		}
		got[h.ID] = string(m.Data)
		if h.ID == last.ID && m.Time.Before(last.DueAt) {
			t.Errorf("%v early", last.DueAt.Sub(m.Time))
		}
	}
	if len(jobs(t, js)) != 3 || got[last.ID] != "7" {
		t.Fatalf("%v", got)
	}
	for _, id := range []string{"o", "e"} {
		if _, ok := got[id]; !ok {
			t.Errorf("%s is missing: %v", id, got)
		}
	}

	// Begun anew, with an id that was used a moment ago: it is no duplicate.
	if d, err := Debounce(within(t), js, ci, entity(t, 2), streams.PublishOptions{ID: "e"}, 50*time.Millisecond); err != nil || d.Duplicate() {
		t.Fatal(d, err)
	}
	until(t, "one more", func() bool { return len(jobs(t, js)) == 4 })

	// It can be cancelled like any delayed job.
	if _, err := Debounce(within(t), js, ci, entity(t, 3), streams.PublishOptions{ID: "never"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := Cancel(within(t), js, ci, "never"); err != nil {
		t.Fatal(err)
	}
	if list, err := ListDelayed(within(t), js, ci, 0); err != nil || len(list) != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
}
