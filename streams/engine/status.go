package engine

import (
	"context"
	"errors"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
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

// errEnded is returned to who waits for an engine that has ended.
var errEnded = errors.New("the engine has ended")

// Ready waits until the first session stands and returns its id: from then on jobs are taken.
func (e *Engine) Ready(ctx context.Context) (session string, err error) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		answer := make(chan lane.Session, 1)
		e.in.put(item{do: func() { answer <- e.holder.Session() }})
		select {
		case s := <-answer:
			if s.Phase == lane.SessionStands {
				return s.ID, nil
			}
		case <-ctx.Done():
			return "", ctx.Err()
		case <-e.ended:
			return "", errEnded
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
