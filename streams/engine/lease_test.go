package engine

import (
	"context"
	"testing"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// A claim lives for a minute whatever the lease is, and a job under the longest lease is no more in a hurry than others.
func TestTheLongestLease(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := jetStream(t, nc)
	p := streams.DefaultPolicy()
	p.Lease = streams.MaxLease
	if _, err := streams.CreateQueue(t.Context(), js, ci, p); err != nil {
		t.Fatal(err)
	}
	rec := newRecorder(func(_ context.Context, j *Job) lane.Outcome {
		select {
		case <-j.Kill:
			t.Errorf("job %d was killed", j.Seq)
		default:
		}
		return lane.Outcome{}
	})
	e := startEngine(t, srv.URL(), rec, 2)
	publish(t, nc, "build.1", 3)
	rec.wait(t, 3)
	empty(t, js, ci.JobsStream())
	stop(t, e)
}
