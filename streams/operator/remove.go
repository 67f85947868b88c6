package operator

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Removal is what became of jobs that were to be removed.
type Removal struct {
	// Removed counts jobs that are gone, Spared those that stay because a job of their lane runs.
	Removed, Spared int
}

// RemoveJobs removes the jobs with these sequences, all of one entity; without sequences, all jobs of the entity that
// were there when it began. A lane whose job runs is spared as a whole: a job behind the one that runs might be started
// at the very moment in which it is removed.
func RemoveJobs(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, seqs []uint64) (r Removal, err error) {
	s, err := Open(ctx, js, q, "job-rm")
	if err != nil {
		return Removal{}, err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	return s.removeFrom(ctx, e, seqs)
}

// PurgeQueue removes all unfinished jobs that were there when it began, lane by lane, but for the lanes whose job runs.
func PurgeQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (sum Removal, err error) {
	s, err := Open(ctx, js, q, "queue-purge")
	if err != nil {
		return Removal{}, err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	var lanes []subjects.Entity
	err = streams.Scan(ctx, js, q.JobsStream(), streams.ScanOptions{LastPerSubject: true}, func(m streams.Message) bool {
		token, ok := subjects.LaneOf(m.Subject)
		if !ok {
			return true
		}
		if e, err := subjects.ParseLane(token); err == nil {
			lanes = append(lanes, e) // others are dead by themselves: no worker can run them
		}
		return true
	})
	if err != nil {
		return Removal{}, err
	}
	for _, e := range lanes {
		r, err := s.removeFrom(ctx, e, nil)
		sum.Removed += r.Removed
		sum.Spared += r.Spared
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// removeFrom holds a lane while it removes jobs from it.
func (s *Session) removeFrom(ctx context.Context, e subjects.Entity, seqs []uint64) (r Removal, err error) {
	h, found, err := s.take(ctx, e)
	if errors.Is(err, ErrBusy) {
		n, err := s.count(ctx, e, seqs)
		return Removal{Spared: n}, err
	}
	if err != nil || !found {
		return Removal{}, err
	}
	headRemoved := false
	defer func() { err = errors.Join(err, s.release(context.WithoutCancel(ctx), h, headRemoved)) }()
	if seqs == nil {
		if seqs, err = s.sequences(ctx, e); err != nil {
			return Removal{}, err
		}
	}
	for _, seq := range seqs {
		if err := s.stands(); err != nil {
			return r, err
		}
		was, err := streams.DeleteMessage(ctx, s.js, s.queue.JobsStream(), seq)
		if err != nil {
			return r, err
		}
		if was {
			r.Removed++
		}
		headRemoved = headRemoved || seq == h.head
	}
	return r, nil
}

// sequences are the jobs of a lane.
func (s *Session) sequences(ctx context.Context, e subjects.Entity) (seqs []uint64, err error) {
	err = streams.Scan(ctx, s.js, s.queue.JobsStream(), streams.ScanOptions{Subjects: []string{s.queue.JobSubject(e)}},
		func(m streams.Message) bool {
			seqs = append(seqs, m.Seq)
			return true
		})
	return seqs, err
}

// count says how many of the jobs are there.
func (s *Session) count(ctx context.Context, e subjects.Entity, seqs []uint64) (int, error) {
	there, err := s.sequences(ctx, e)
	if err != nil || seqs == nil {
		return len(there), err
	}
	n := 0
	for _, seq := range seqs {
		if slices.Contains(there, seq) {
			n++
		}
	}
	return n, nil
}
