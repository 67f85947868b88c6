package engine

import (
	"context"
	"errors"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// RunningJob is a job that runs now.
type RunningJob struct {
	Job
	Since time.Duration
}

// Running lists what runs now, in no order.
func (e *Engine) Running() []RunningJob {
	var jobs []RunningJob
	e.fence.each(func(r *run) { jobs = append(jobs, RunningJob{Job: *r.job, Since: time.Since(r.wall)}) })
	return jobs
}

// RunDeadline is until when a job that runs may run.
type RunDeadline struct {
	Queue subjects.Queue
	// Fence names the run within its queue.
	Fence uint64
	// Until is the end of its claim, 0 none but the session's.
	Until time.Duration
}

// Deadlines are until when the session is believed in, 0 for no session, and what runs, with the ends of its claims, all
// on the boot clock. The engine itself kills what is past them; they are for a watchdog that watches the engine.
func (e *Engine) Deadlines() (session time.Duration, runs []RunDeadline) { return e.fence.deadlines() }

// errEnded is returned to who waits for an engine that has ended.
var errEnded = errors.New("the engine has ended")

// Ready waits until the first session stands and returns its id: from then on jobs are taken, unless it is quiet or was
// started as Waiting.
func (e *Engine) Ready(ctx context.Context) (session string, err error) {
	stands := make(chan string, 1)
	e.in.put(item{do: func() { e.readying = append(e.readying, stands) }})
	select {
	case session = <-stands:
		return session, nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-e.ended:
		return "", errEnded
	}
}

// tellReady answers those that wait for a session that stands.
func (e *Engine) tellReady() {
	if len(e.readying) == 0 {
		return
	}
	if s := e.holder.Session(); s.Phase == lane.SessionStands {
		for _, stands := range e.readying {
			stands <- s.ID
		}
		e.readying = nil
	}
}
