package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Removal is what became of jobs that were to be removed.
type Removal struct {
	// Removed counts jobs that are gone, Spared those that stay because a job of their lane runs.
	Removed, Spared int
}

// ErrOtherLane: a job that was to be removed from a lane is in another one.
var ErrOtherLane = errors.New("the job is not of this entity")

// RemoveJobs removes the jobs with these sequences, all of one entity; without sequences, all jobs of the entity that
// were there when it began. A lane whose job runs is spared as a whole: a job behind the one that runs might be started
// at the very moment in which it is removed. A sequence that is of no job any more counts as nothing; one of another
// entity's job is ErrOtherLane, and then nothing is removed: that job's lane is not held, and it may run.
func RemoveJobs(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, seqs []uint64) (r Removal, err error) {
	return removeJobs(ctx, js, q, e, seqs, "job-rm", nil)
}

// removeJobs calls gone, if it is not nil, with each job that it removed of those that were named.
func removeJobs(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, seqs []uint64, what string, gone func(*Session, *hold, streams.Message)) (r Removal, err error) {
	s, err := Open(ctx, js, q, what)
	if err != nil {
		return Removal{}, err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	if len(seqs) == 0 {
		return s.removeFrom(ctx, e, nil, nil)
	}
	there, err := s.ofLane(ctx, e, seqs)
	if err != nil || len(there) == 0 {
		return Removal{}, err
	}
	return s.removeFrom(ctx, e, there, gone)
}

// ofLane leaves out what is gone, and refuses what is another lane's. What a sequence holds never changes, so this may
// be done before the lane is held.
func (s *Session) ofLane(ctx context.Context, e subjects.Entity, seqs []uint64) (there []streams.Message, err error) {
	for _, seq := range seqs {
		m, err := streams.GetMessage(ctx, s.js, s.queue.JobsStream(), seq)
		if errors.Is(err, streams.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.Subject != s.queue.JobSubject(e) {
			return nil, problem.New(fmt.Sprintf("remove job %d of %s from %s", seq, e, s.queue), fmt.Errorf("%w: its subject is %q", ErrOtherLane, m.Subject),
				fmt.Sprintf("nothing was removed; see whose it is: coordinator job info %s %d", s.queue, seq))
		}
		there = append(there, m)
	}
	return there, nil
}

// PurgeQueue removes all unfinished jobs that were there when it began, lane by lane, but for the lanes whose job runs.
func PurgeQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (sum Removal, err error) {
	s, err := Open(ctx, js, q, "queue-purge")
	if err != nil {
		return Removal{}, err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	var lanes []subjects.Entity
	unusable := false
	err = streams.Scan(ctx, js, q.JobsStream(), streams.ScanOptions{LastPerSubject: true}, func(m streams.Message) bool {
		if e, ok := entityOf(m); ok {
			lanes = append(lanes, e)
		} else {
			unusable = true
		}
		return true
	})
	if err != nil {
		return Removal{}, err
	}
	if unusable {
		if sum.Removed, err = s.removeUnusable(ctx); err != nil {
			return sum, err
		}
	}
	for _, e := range lanes {
		r, err := s.removeFrom(ctx, e, nil, nil)
		sum.Removed += r.Removed
		sum.Spared += r.Spared
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func entityOf(m streams.Message) (subjects.Entity, bool) {
	token, ok := subjects.LaneOf(m.Subject)
	if !ok {
		return subjects.Entity{}, false
	}
	e, err := subjects.ParseLane(token)
	return e, err == nil
}

// removeUnusable removes the jobs whose subjects name no entity. They need no hold, because nothing runs in such a lane:
// at the worst a worker finds the reason at the same moment, and a dead letter tells of it. All jobs are looked at: a
// filter cannot name every subject.
func (s *Session) removeUnusable(ctx context.Context) (removed int, err error) {
	var seqs []uint64
	err = streams.Scan(ctx, s.js, s.queue.JobsStream(), streams.ScanOptions{}, func(m streams.Message) bool {
		if _, ok := entityOf(m); !ok {
			seqs = append(seqs, m.Seq)
		}
		return true
	})
	for _, seq := range seqs {
		was, gone := streams.DeleteMessage(ctx, s.js, s.queue.JobsStream(), seq)
		if gone != nil {
			return removed, gone
		}
		if was {
			removed++
		}
	}
	return removed, err
}

// removeFrom holds a lane while it removes jobs from it; without any named, all that are there.
func (s *Session) removeFrom(ctx context.Context, e subjects.Entity, jobs []streams.Message, gone func(*Session, *hold, streams.Message)) (r Removal, err error) {
	h, found, err := s.take(ctx, e, false)
	if errors.Is(err, ErrBusy) {
		n, err := s.count(ctx, e, jobs)
		return Removal{Spared: n}, err
	}
	if err != nil || !found {
		return Removal{}, err
	}
	headRemoved := false
	defer func() { err = errors.Join(err, s.release(context.WithoutCancel(ctx), h, headRemoved)) }()
	if jobs == nil {
		if jobs, err = s.jobs(ctx, e); err != nil {
			return Removal{}, err
		}
	}
	for _, m := range jobs {
		if err := s.stands(); err != nil {
			return r, err
		}
		was, err := streams.DeleteMessage(ctx, s.js, s.queue.JobsStream(), m.Seq)
		if err != nil {
			return r, err
		}
		if was {
			if r.Removed++; gone != nil {
				gone(s, h, m)
			}
		}
		headRemoved = headRemoved || m.Seq == h.head
	}
	return r, nil
}

// jobs are those of a lane, without their bodies.
func (s *Session) jobs(ctx context.Context, e subjects.Entity) (jobs []streams.Message, err error) {
	err = streams.Scan(ctx, s.js, s.queue.JobsStream(), streams.ScanOptions{Subjects: []string{s.queue.JobSubject(e)}},
		func(m streams.Message) bool {
			jobs = append(jobs, m)
			return true
		})
	return jobs, err
}

// count says how many of the jobs are there.
func (s *Session) count(ctx context.Context, e subjects.Entity, jobs []streams.Message) (int, error) {
	there, err := s.jobs(ctx, e)
	if err != nil || jobs == nil {
		return len(there), err
	}
	n := 0
	for _, m := range jobs {
		if slices.ContainsFunc(there, func(t streams.Message) bool { return t.Seq == m.Seq }) {
			n++
		}
	}
	return n, nil
}
