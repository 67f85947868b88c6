package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// Pulls that are given up, because the connection is new or the server is late, lose no turn that was on its way: the
// server would keep it for a whole lease.
func TestPullsThatAreGivenUpLoseNoTurn(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	p := streams.DefaultPolicy()
	p.Lease = 10 * time.Minute // what is lost stays away for as long
	if _, err := streams.CreateQueue(t.Context(), jetStream(t, nc), ci, p); err != nil {
		t.Fatal(err)
	}
	rec := newRecorder(nil)
	e := startEngine(t, srv.URL(), rec, 64)
	if _, err := e.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	given := make(chan struct{})
	go func() {
		defer close(given)
		for streams.Pause(ctx, 300*time.Microsecond) == nil {
			e.in.put(item{do: func() {
				for _, p := range e.pulls {
					p.expires = e.at
				}
				e.expirePulls()
			}})
		}
	}()
	const jobs = 500
	for i := range jobs {
		publish(t, nc, fmt.Sprintf("build.%d", i), 1)
	}
	rec.wait(t, jobs)
	end()
	<-given
	stop(t, e)
}
