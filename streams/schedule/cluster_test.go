package schedule

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Three servers whose leaders step down while delays and a schedule fire: each once, none early.
func TestReplicated(t *testing.T) {
	t.Parallel()
	c := natstest.Cluster(t, 3)
	js := c.JetStream()
	makeQueue(t, js, func(p *streams.Policy) { p.Replicas = 3 })
	due := map[string]time.Time{}
	for i := range 40 {
		d, err := Publish(within(t), js, ci, entity(t, i), streams.PublishOptions{ID: fmt.Sprint("d", i)}, When{In: time.Duration(i) * 150 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		due[d.ID] = d.DueAt
	}
	s := add(t, js, New{Name: "tick", Spec: Spec{Every: Duration(time.Second)}})
	for i := range 3 {
		keep(t, c.URL(), fmt.Sprint("w", i))
	}
	for range 3 {
		time.Sleep(1500 * time.Millisecond) // any moment is as good as another
		for _, stream := range []string{ci.ScheduleStream(), ci.JobsStream()} {
			until(t, stream+" had a leader that stepped down", func() bool { // nobody answers while one is being elected
				_, err := js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 2*time.Second)
				return err == nil
			})
		}
	}
	until(t, "it has fired three times", func() bool {
		ctx, cancel := context.WithTimeout(within(t), 2*time.Second)
		defer cancel()
		is, err := Get(ctx, js, ci, "tick")
		return err == nil && is.Runs >= 3
	})
	removeSoon(t, js)
	seen := map[string]int{}
	until(t, "all delayed jobs and three runs are there", func() bool {
		clear(seen)
		for _, m := range jobs(t, js) {
			h, err := subjects.ReadJobHeader(ci, m.Seq, m.Header)
			if err != nil {
				t.Fatal(err)
			}
			seen[h.ID]++
			at, ok := due[h.ID]
			if !ok {
				if at, err = time.Parse(time.RFC3339Nano, h.Own[HeaderTime]); err != nil || at.Sub(s.Spec.Start)%time.Second != 0 {
					t.Fatalf("%+v %v", h, err)
				}
			}
			if m.Time.Before(at) {
				t.Fatalf("%s is %v early", h.ID, at.Sub(m.Time))
			}
		}
		for id := range due {
			if seen[id] == 0 {
				return false
			}
		}
		return len(seen) >= len(due)+3 // a server may lag behind
	})
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
}
