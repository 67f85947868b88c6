package engine

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// The audit looks once at every job that is still there after a while, and gives its lane a turn if it has none. All
// workers share one durable consumer and pull from it lazily: a job that was finished before its number came up is not
// there any more, and costs nothing.
//
// The look is a published turn: the refusal is the check, and costs one request where reading the lane would cost two.
// A turn for a lane that is done by then, or that stands, is ended by whoever takes it. Over a deep backlog the audit is
// paced; turns that are missing there are seen by the sampling of the sweep first.
const (
	auditBatch = 256
	auditWait  = 2 * time.Second
	auditPause = time.Second
	auditPace  = 50 * time.Millisecond // between two batches: at most 5,000 looks a second and worker
)

func (e *Engine) startAudit(ctx context.Context, q subjects.Queue) {
	e.tasks.Add(1)
	go func() {
		defer e.tasks.Done()
		for ctx.Err() == nil {
			if err := e.audit(ctx, q); err != nil && ctx.Err() == nil {
				e.opts.Log.Debug().Err(err).Str("queue", string(q)).Msg("the audit is interrupted; it goes on when the server answers")
				_ = streams.Pause(ctx, auditPause)
			}
		}
	}()
}

// audit pulls batches until something goes wrong.
func (e *Engine) audit(ctx context.Context, q subjects.Queue) error {
	consumer, err := e.js.Consumer(ctx, q.JobsStream(), subjects.AuditConsumer)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		jobs, err := fetch(ctx, consumer)
		if err != nil {
			return err
		}
		if len(jobs) == 0 {
			_ = streams.Pause(ctx, auditPause)
			continue
		}
		e.auditJobs(ctx, jobs)
		_ = streams.Pause(ctx, auditPace)
	}
	return nil
}

// fetch pulls what there is; a stop ends it at once.
func fetch(ctx context.Context, consumer jetstream.Consumer) (jobs []jetstream.Msg, err error) {
	ctx, cancel := context.WithTimeout(ctx, auditWait)
	defer cancel()
	batch, err := consumer.Fetch(auditBatch, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		jobs = append(jobs, m)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return jobs, nil
}

// auditJobs waits until the youngest of the batch is old enough, and visits each lane once.
func (e *Engine) auditJobs(ctx context.Context, jobs []jetstream.Msg) {
	got := time.Now()
	lanes := map[string][]jetstream.Msg{}
	guess := map[string]uint64{}
	youngest := time.Duration(0)
	for _, m := range jobs {
		meta, err := m.Metadata()
		if err != nil {
			continue
		}
		name := strings.TrimPrefix(m.Subject(), subjects.PrefixJobs+".")
		lanes[name], guess[name] = append(lanes[name], m), meta.Sequence.Stream
		// Clocks may differ: a job is never waited for longer than the delay, counted from here.
		age := max(got.Sub(meta.Timestamp), 0)
		youngest = max(youngest, e.opts.AuditDelay-age)
	}
	if streams.Pause(ctx, youngest) != nil {
		return
	}
	done := make(chan []jetstream.Msg, len(lanes))
	for name, looked := range lanes {
		e.visit(name, lane.Visit{Publish: true, Guess: guess[name]}, func() { done <- looked })
	}
	for range lanes {
		select {
		case looked := <-done:
			for _, m := range looked {
				_ = m.Ack() // lost, it is looked at once more
			}
		case <-ctx.Done():
			return // what is not acknowledged another worker looks at
		}
	}
}
