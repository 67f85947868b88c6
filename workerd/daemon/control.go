package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle/drain"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// This file answers what operators ask this worker over NATS: to end a job, to take no more, to stop. The last two are
// the signals by another way, sent to the top process as the commands quiet and stop of workerd do, so that a guardian
// knows of them too and an engine that follows this one obeys them.

const (
	// controlBound is how long an answer may take; who asks waits longer.
	controlBound = 3 * time.Second
	controlPoll  = 10 * time.Millisecond
	maxCancelled = 10_000
)

// serveControl answers until the connection is closed. Without the right to listen a worker works all the same.
func (d *daemon) serveControl() {
	if _, err := streams.ServeControl(d.conn, d.id, d.controlled); err != nil {
		d.log.Warn().Err(err).Str("hint", problem.Hint(err)).Msg("this worker cannot be told by coordinator to cancel jobs, to be quiet or to stop")
	}
}

// controlled does what is asked. It runs on the connection's goroutine.
func (d *daemon) controlled(r streams.ControlRequest) streams.ControlReply {
	ctx, cancel := context.WithTimeout(d.ctx, controlBound)
	defer cancel()
	var reply streams.ControlReply
	var err error
	switch r.Verb {
	case streams.VerbCancel:
		reply.Jobs, err = d.cancelJobs(ctx, r)
	case streams.VerbQuiet:
		err = d.told(ctx, syscall.SIGTSTP, streams.StateQuiet)
	case streams.VerbResume:
		err = d.told(ctx, syscall.SIGCONT, streams.StateRunning)
	case streams.VerbStop:
		err = d.told(ctx, syscall.SIGTERM, streams.StateStopping)
	default:
		err = problem.New("control", fmt.Errorf("it does not know how to %q", r.Verb), "upgrade the workerd, or the coordinator")
	}
	if reply.State = d.health.getMode().State(); err != nil {
		d.log.Warn().Err(err).Str("verb", r.Verb).Msg("asked by an operator, and refused")
		return streams.ControlReply{State: reply.State, Error: reason(err), Hint: problem.Hint(err)}
	}
	reply.OK = true
	if e := d.health.engine.Load(); e != nil {
		reply.Busy = len(e.Running())
	}
	return reply
}

// reason leaves the operation out: who asks knows it.
func reason(err error) string {
	var p *problem.Error
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// told sends the top process a signal, as an operator on its host would, and waits until it is so. A workerd that is so
// already gets none: the second TERM means something else.
func (d *daemon) told(ctx context.Context, signal syscall.Signal, want string) error {
	var is string
	so := func() bool {
		mode := d.health.getMode()
		is = mode.State()
		return is == want || mode == drain.StartingQuiet && want == streams.StateQuiet || want == streams.StateStopping && is == streams.StateStopped
	}
	if so() {
		return nil
	}
	if is == streams.StateStopping || is == streams.StateStopped {
		return problem.New("control", fmt.Errorf("it is %s", is), "a worker that stops does not come back; start another one")
	}
	d.log.Info().Str("want", want).Msg("asked by an operator")
	top, err := os.FindProcess(d.link.PID())
	if err == nil {
		err = top.Signal(signal)
	}
	if err != nil {
		return fmt.Errorf("send %s to the top process: %w", signal, err)
	}
	for !so() {
		if streams.Pause(ctx, controlPoll) != nil {
			return problem.New("control", fmt.Errorf("it is still %s", is), "it was told; look again")
		}
	}
	return nil
}

// cancelJobs has the engine end jobs.
func (d *daemon) cancelJobs(ctx context.Context, r streams.ControlRequest) (map[uint64]string, error) {
	if len(r.Seqs) == 0 || len(r.Seqs) > maxCancelled {
		return nil, fmt.Errorf("cancel needs 1 to %d sequences", maxCancelled)
	}
	q, err := subjects.ParseQueue(r.Queue)
	if err != nil {
		return nil, err
	}
	entity, err := subjects.ParseLane(r.Lane)
	if err != nil {
		return nil, err
	}
	e := d.health.engine.Load()
	if e == nil {
		return nil, errors.New("it runs nothing just now")
	}
	jobs, err := e.Cancel(ctx, q, entity, r.Seqs)
	if err == nil {
		d.log.Info().Str("queue", r.Queue).Stringer("entity", entity).Uints64("seqs", r.Seqs).Msg("an operator cancels jobs")
	}
	return jobs, err
}
