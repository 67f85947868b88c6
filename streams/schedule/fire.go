package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// firing does what is due of one schedule, on a goroutine of its own.
type firing struct {
	js     jetstream.JetStream
	q      subjects.Queue
	worker string
	server serverTime
	s      Schedule
	times  Times
	// own says that nobody else is likely to have fired meanwhile.
	own bool
}

// result is what came of it: the schedule as it is now, or that it is gone.
type result struct {
	name string
	s    Schedule
	run  *Run
	gone bool
	err  error
}

// fresh is how long after its record was read or written a run may be published: well within the duplicate window of the
// queue, since by then others may have published it.
const fresh = 60 * time.Second

// firingSteps bounds what is done at a time: a pending run, and the one that is due.
const firingSteps = 4

func (f firing) run(ctx context.Context) (r result) {
	r.name = f.s.Name
	defer func() { r.s = f.s }()
	since := clock.Boot()
	if !f.own || f.s.Pending != nil {
		if r.gone, r.err = f.reread(ctx); r.gone || r.err != nil {
			return r
		}
	}
	for range firingSteps {
		m := decide(f.s.Record, f.times, f.worker, f.server.now())
		if m.do == rest {
			return r
		}
		var err error
		if m.do == begin {
			since = clock.Boot()
			r.run, err = f.begin(ctx, m.at)
		} else {
			if clock.Boot()-since > fresh {
				err = errStale
			} else {
				r.run, r.gone, err = f.finish(ctx, m.at)
			}
		}
		if streams.IsWrongLast(err) || errors.Is(err, errStale) { // somebody else was faster, or changed it
			since = clock.Boot()
			r.gone, err = f.reread(ctx)
		}
		if r.err = err; err != nil || r.gone {
			return r
		}
	}
	return r
}

var errStale = errors.New("it was read too long ago")

func (f *firing) reread(ctx context.Context) (gone bool, err error) {
	s, err := Get(ctx, f.js, f.q, f.s.Name)
	if errors.Is(err, streams.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	times, err := s.Spec.Times()
	if err != nil {
		return false, err
	}
	f.s, f.times = s, times
	return false, nil
}

// begin writes that a time is being fired; or, when the last run stands in its way, that it is over without one.
func (f *firing) begin(ctx context.Context, at time.Time) (*Run, error) {
	last, err := f.last(ctx)
	if err != nil {
		return nil, err
	}
	next, now := f.s, f.server.now()
	next.Record = begun(next.Record, f.times, f.worker, at, now)
	var over *Run
	if what := outcome(f.s.Overlap, last); what != Published {
		over = &Run{At: at, FiredAt: now, Outcome: what}
		next.Record = ended(next.Record, f.worker, *over)
	}
	if err := put(ctx, f.js, f.q, &next); err != nil {
		return nil, err
	}
	f.s = next
	return over, nil
}

// finish publishes the run of a pending time, and writes that. A schedule of a single time is over then.
func (f *firing) finish(ctx context.Context, at time.Time) (run *Run, gone bool, err error) {
	run = &Run{At: at, Outcome: Published, ID: f.s.jobID(at)}
	switch run.Seq, err = f.publish(ctx, at); {
	case errors.Is(err, streams.ErrTooLarge), errors.Is(err, subjects.ErrEntityID), errors.Is(err, subjects.ErrEntityType):
		*run = Run{At: at, Outcome: Refused, Error: err.Error()}
	case err != nil:
		return nil, false, err
	}
	run.FiredAt = f.server.now()
	if !f.s.Spec.At.IsZero() && f.s.Next.IsZero() {
		if run.Outcome == Published {
			_, err := streams.DeleteMessage(ctx, f.js, f.q.ScheduleStream(), f.s.Seq)
			return run, err == nil, err
		}
	}
	next := f.s
	next.Record = ended(next.Record, f.worker, *run)
	if err := put(ctx, f.js, f.q, &next); err != nil {
		return nil, false, err
	}
	f.s = next
	return run, false, nil
}

// publish publishes the run of a time. A duplicate is as good as stored.
func (f *firing) publish(ctx context.Context, at time.Time) (uint64, error) {
	m, err := f.s.job(f.q, at)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, streams.RequestTimeout)
	defer cancel()
	answer, err := f.js.Conn().RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("publish a run of schedule %s: %w", f.s.Name, err)
	}
	ack, err := streams.ReadAnswer(f.q, answer)
	return ack.Seq, err
}

// last says what became of the last run, as far as that matters.
func (f *firing) last(ctx context.Context) (standing, error) {
	l := f.s.Last
	if f.s.Overlap == Queue || l == nil || l.Seq == 0 {
		return over, nil
	}
	m, err := streams.GetMessage(ctx, f.js, f.q.JobsStream(), l.Seq)
	if errors.Is(err, streams.ErrNotFound) {
		return over, nil
	}
	if err != nil {
		return over, err
	}
	if subjects.Get(m.Header, subjects.HeaderJobID) != l.ID {
		return over, nil // of a queue that was made anew
	}
	lane, _ := subjects.LaneOf(m.Subject)
	claim, err := streams.LastMessage(ctx, f.js, f.q.ClaimsStream(), f.q.Claim(lane))
	if errors.Is(err, streams.ErrNotFound) {
		return waits, nil
	}
	if err != nil {
		return over, err
	}
	var c struct {
		Job   uint64 `json:"job"`
		State string `json:"state"`
	}
	if begun := json.Unmarshal(claim.Data, &c) == nil && c.Job == l.Seq && c.State != "given_back"; begun {
		return runs, nil
	}
	return waits, nil
}
