package operator

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// ErrNotHalted: a lane that was to be released does not stand still.
var ErrNotHalted = errors.New("the lane is not halted")

// Released is a lane that goes on.
type Released struct {
	// Job is the sequence of the job that halted it; Cause and Error are what it came to.
	Job          uint64
	Cause, Error string
}

// ReleaseHalted lets a halted lane go on: its job is tried again, with all counts at zero, or it is buried: moved to the
// dead letters by the next worker. Errors are ErrNotHalted, with nothing changed, ErrBusy when another command has the
// lane, and the trouble with the server.
func ReleaseHalted(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, bury bool) (r Released, err error) {
	op := fmt.Sprintf("release %s in %s", e, q)
	s, err := Open(ctx, js, q, "lane-release")
	if err != nil {
		return Released{}, err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	before, had, err := s.record(ctx, e)
	if err != nil {
		return Released{}, problem.New(op, err, "")
	}
	no := problem.New(op, ErrNotHalted, fmt.Sprintf("see what it waits for: coordinator lane why %s %s", q, e))
	if !had || before.State != lane.Halted {
		return Released{}, no
	}
	h, found, err := s.take(ctx, e, false)
	switch {
	case err != nil:
		return Released{}, problem.New(op, err, "")
	case !found:
		return Released{}, no
	case h.before.State != lane.Halted || h.before.Job != h.head:
		// Somebody else was quicker, or its job was removed.
		return Released{}, errors.Join(no, s.release(ctx, h, false))
	}
	r = Released{Job: h.head, Cause: h.before.Cause, Error: h.before.Error}
	next := h.before
	next.State = lane.GivenBack
	if next.Dying = bury; !bury {
		next.Counts, next.Attempt, next.Cause, next.Error = lane.Counts{}, 1, "", ""
		next.Absolved = true // also of what it brought along when it had let others pass
	}
	// Kept until the job is started: a record that expired would forget what was tried before.
	if _, err := s.put(ctx, s.queue.ClaimSubject(e), next.Encode(), h.seq, 0); err != nil {
		return Released{}, problem.New(op, err, "")
	}
	return r, problem.New(op, streams.GiveTurn(ctx, js, q, e), fmt.Sprintf("it is released; give it a turn with: coordinator lane resume %s %s", q, e))
}
