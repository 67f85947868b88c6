package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// What a worker can be asked to do, on its control subject.
const (
	// VerbCancel ends jobs that run, and keeps jobs that wait behind them from being started.
	VerbCancel = "cancel"
	// VerbQuiet takes no more jobs; what runs goes on. VerbResume takes them again. VerbStop lets jobs finish, hands back
	// the rest and ends the worker.
	VerbQuiet  = "quiet"
	VerbResume = "resume"
	VerbStop   = "stop"
)

// What a worker says of a job that is to be cancelled.
const (
	// JobRunning: it ran, and is being ended.
	JobRunning = "running"
	// JobNoted: it waits behind the job that runs; this worker will not start it.
	JobNoted = "noted"
	// JobAbsent: this worker does not have its lane.
	JobAbsent = "absent"
)

// ErrNoAnswer: no worker of that id answers.
var ErrNoAnswer = errors.New("the worker does not answer")

// ErrRefused: a worker answered that it would not.
var ErrRefused = errors.New("the worker refuses")

// ControlRequest is what a worker is asked.
type ControlRequest struct {
	Verb string `json:"verb"`
	// Queue, Lane (the token type.<encoded id>) and Seqs are those of VerbCancel.
	Queue string   `json:"queue,omitempty"`
	Lane  string   `json:"lane,omitempty"`
	Seqs  []uint64 `json:"seqs,omitempty"`
}

// ControlReply is what it answers.
type ControlReply struct {
	OK bool `json:"ok"`
	// State is the worker's own after what was asked, Busy how many jobs it runs.
	State string `json:"state,omitempty"`
	Busy  int    `json:"busy,omitempty"`
	// Jobs says of each sequence that was to be cancelled JobRunning, JobNoted or JobAbsent.
	Jobs  map[uint64]string `json:"jobs,omitempty"`
	Error string            `json:"error,omitempty"`
	Hint  string            `json:"hint,omitempty"`
}

// ControlPrefix begins the subjects on which workers are told what to do. Whoever may publish there can stop workers.
const ControlPrefix = "control"

// ControlSubject is the subject of the worker with this id. The id is encoded as an entity's is: one token.
func ControlSubject(worker string) (string, error) {
	token, err := subjects.EncodeID(worker)
	if err != nil {
		return "", err
	}
	return ControlPrefix + "." + token, nil
}

// AskWorker asks a worker and returns its answer. Errors are ErrNoAnswer, ErrRefused with the worker's own words, and the
// trouble with the server.
func AskWorker(ctx context.Context, nc *nats.Conn, worker string, ask ControlRequest) (ControlReply, error) {
	op := fmt.Sprintf("ask worker %q to %s", worker, ask.Verb)
	subject, err := ControlSubject(worker)
	if err != nil {
		return ControlReply{}, problem.New(op, err, "")
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return ControlReply{}, problem.New(op, err, "")
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	answer, err := nc.RequestWithContext(ctx, subject, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return ControlReply{}, problem.New(op, ErrNoAnswer, "it has ended, or lost its connection, or is no workerd; see: coordinator worker info "+worker)
	case errors.Is(err, context.DeadlineExceeded):
		return ControlReply{}, problem.New(op, fmt.Errorf("%w in time", ErrNoAnswer), "its host may be overloaded or stopped; see: coordinator worker info "+worker)
	case err != nil:
		return ControlReply{}, explain(op, "", err)
	}
	var reply ControlReply
	if err := json.Unmarshal(answer.Data, &reply); err != nil {
		return reply, problem.New(op, fmt.Errorf("%w: it answers something else: %w", ErrRefused, err), "is it of the same version as this program?")
	}
	if !reply.OK {
		return reply, problem.New(op, fmt.Errorf("%w: %s", ErrRefused, oneLine(reply.Error, maxDeadText)), oneLine(reply.Hint, maxDeadText))
	}
	return reply, nil
}

// heardBound is how long the server may take to say that it knows who listens.
const heardBound = 2 * time.Second

// ServeControl answers the requests to a worker, one after another on a goroutine of the connection's, until the returned
// function is called or the connection closed. It is heard when this returns. What is no request is answered as refused.
func ServeControl(nc *nats.Conn, worker string, handle func(ControlRequest) ControlReply) (stop func(), err error) {
	subject, err := ControlSubject(worker)
	if err != nil {
		return nil, err
	}
	sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
		var ask ControlRequest
		var reply ControlReply
		if err := json.Unmarshal(m.Data, &ask); err != nil {
			reply = ControlReply{Error: "the request cannot be read: " + err.Error()}
		} else {
			reply = handle(ask)
		}
		body, err := json.Marshal(reply)
		if err != nil {
			return // numbers and text always marshal
		}
		_ = m.Respond(body) // who asked asks again
	})
	if err != nil {
		return nil, problem.New("listen on "+subject, err, "")
	}
	if nc.IsConnected() {
		// Who is told that the worker is there may ask at once. A connection that is lost says what it listens to when it is back.
		_ = nc.FlushTimeout(heardBound)
	}
	return func() { _ = sub.Unsubscribe() }, nil
}
