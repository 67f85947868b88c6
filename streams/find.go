package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// The states of a job, beside those that its end may have.
const (
	JobWaits    = "waiting"
	JobRuns     = "running"
	JobRetrying = "retrying"
	// JobDelayed: it is not in its lane yet; schedule.Find tells of it.
	JobDelayed = "delayed"
)

// Found is all that the stores know of one job.
type Found struct {
	// State is waiting, running, retrying, delayed or halted of an unfinished job, else dead, done or cancelled.
	State string `json:"state"`
	// Due is when a job comes to its lane that is not there.
	Due time.Time `json:"due_at,omitzero"`
	// Job is there as long as the job is not finished; Lane then tells about its lane when the job is the head of it.
	Job  *Job      `json:"job,omitempty"`
	Lane *LaneInfo `json:"lane,omitempty"`
	// Dead is its dead letter, Finished its record in the history.
	Dead     *DeadInfo `json:"dead,omitempty"`
	Finished *Finished `json:"finished,omitempty"`
}

// Tries are the attempts that failed, as far as anything tells of them, the oldest first.
func (f Found) Tries() []lane.Try {
	switch {
	case f.Lane != nil && f.Lane.Claim != nil:
		return f.Lane.Claim.Tries
	case f.Job != nil && f.Job.Carried != nil:
		return f.Job.Carried.Tries
	case f.Finished != nil && len(f.Finished.Tries) > 0:
		return f.Finished.Tries
	case f.Dead != nil:
		return f.Dead.Tries
	}
	return nil
}

// FindJob looks for a job where it may be: among the unfinished ones, the dead, and in the history. Of several that have
// the same id the newest counts, an unfinished one before all. The error is ErrNotFound when nothing tells of it.
func FindJob(ctx context.Context, js jetstream.JetStream, q subjects.Queue, ref JobRef) (Found, error) {
	op := fmt.Sprintf("find %s of %s", ref, q)
	loaded, err := LoadQueue(ctx, js, q)
	if err != nil {
		return Found{}, err
	}
	job, err := findUnfinished(ctx, js, q, ref)
	if err != nil {
		return Found{}, explain(op, q, err)
	}
	if job != nil {
		f := Found{State: JobWaits, Job: job}
		err := f.readLane(ctx, js, q)
		return f, err
	}
	var f Found
	if f.Dead, err = findDead(ctx, js, q, ref); err != nil {
		return Found{}, explain(op, q, err)
	}
	if last, err := FindFinished(ctx, js, q, ref); err == nil {
		f.Finished = &last
	} else if !errors.Is(err, ErrNotFound) {
		return Found{}, err
	}
	switch {
	case f.Dead == nil && f.Finished == nil:
		return Found{}, problem.New(op, ErrNotFound, unfound(q, loaded.Policy))
	case f.Finished == nil:
		f.State = lane.EndDead.String()
	case f.Dead == nil || f.Dead.JobSeq == f.Finished.Seq:
		f.State = f.Finished.Outcome
	case f.Dead.DiedAt.After(f.Finished.EndedAt): // two jobs of one id
		f.State, f.Finished = lane.EndDead.String(), nil
	default:
		f.State, f.Dead = f.Finished.Outcome, nil
	}
	return f, nil
}

// unfound says why nothing may be known of a job that there was.
func unfound(q subjects.Queue, p Policy) string {
	switch p.History {
	case HistoryAll:
		return fmt.Sprintf("the history keeps what its limits allow: coordinator queue info %s", q)
	case HistoryOff:
		return fmt.Sprintf("finished jobs are removed, and queue %s keeps no history: coordinator queue edit %s --history all", q, q)
	}
	return fmt.Sprintf("jobs that were simply done are removed; to keep a record of them too: coordinator queue edit %s --history all", q)
}

// findUnfinished is nil when there is none.
func findUnfinished(ctx context.Context, js jetstream.JetStream, q subjects.Queue, ref JobRef) (*Job, error) {
	seq := ref.Seq
	if ref.ID != "" {
		err := Scan(ctx, js, q.JobsStream(), ScanOptions{Subjects: lanesOf(q.JobSubject, ref.entities())}, func(m Message) bool {
			if one, _ := jobInfo(q, m); one.ID == ref.ID {
				seq = m.Seq
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	if seq == 0 {
		return nil, nil
	}
	m, err := GetMessage(ctx, js, q.JobsStream(), seq)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	job := JobOf(q, m)
	return &job, nil
}

// findDead is nil when there is none.
func findDead(ctx context.Context, js jetstream.JetStream, q subjects.Queue, ref JobRef) (dead *DeadInfo, err error) {
	err = Scan(ctx, js, q.DeadStream(), ScanOptions{Subjects: lanesOf(q.DeadSubject, ref.entities())}, func(m Message) bool {
		if d := deadInfo(q, m); ref.ID != "" && d.ID == ref.ID || ref.ID == "" && d.JobSeq == ref.Seq {
			dead = &d
		}
		return true
	})
	return dead, err
}

// readLane adds what the job's lane tells about it when it is the head.
func (f *Found) readLane(ctx context.Context, js jetstream.JetStream, q subjects.Queue) error {
	if f.Job.Invalid != "" {
		return nil // it is about to be given up, and its lane may have no name
	}
	e, err := subjects.ParseEntity(f.Job.Entity)
	if err != nil {
		return err
	}
	info, err := GetLane(ctx, js, q, e)
	if err != nil {
		return err
	}
	if info.Head == nil || info.Head.Seq != f.Job.Seq {
		return nil
	}
	f.Lane = &info
	if c := info.Claim; c == nil || c.Job != f.Job.Seq {
		info.Claim = nil // it is about a job that is gone
		return nil
	}
	switch info.Claim.State {
	case lane.Running:
		f.State = JobRuns
	case lane.Waiting:
		f.State = JobRetrying
	case lane.Halted:
		f.State = lane.EndHalted.String()
	}
	return nil
}
