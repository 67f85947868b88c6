package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// The kinds of failure, for errors.Is. The errors themselves say more.
var (
	// ErrNoServer: nothing that speaks NATS answers where it was looked for.
	ErrNoServer = errors.New("no NATS server")
	// ErrAuth: the server, or its certificate, or ours, was refused. Waiting does not help.
	ErrAuth = errors.New("not allowed to connect")
	// ErrUnknownContext: there is no nats context of that name.
	ErrUnknownContext = errors.New("unknown nats context")
	// ErrNoJetStream: the server, or the account, has JetStream switched off.
	ErrNoJetStream = errors.New("JetStream is not enabled")
	// ErrOldServer: the server is older than MinServer.
	ErrOldServer = errors.New("the NATS server is too old")

	// ErrUnknownQueue: no stream takes the queue's jobs.
	ErrUnknownQueue = errors.New("unknown queue")
	// ErrNotOurs: a stream has a queue's name and was not made as one.
	ErrNotOurs = errors.New("not a queue")
	// ErrLeftovers: the server has not yet forgotten a removed stream, and would bring its messages back.
	ErrLeftovers = errors.New("the server brings back messages of a removed stream")
	// ErrNewerSchema: the queue was made by a newer version of this program.
	ErrNewerSchema = errors.New("made by a newer Seriatim")
	// ErrPolicy: a policy, or a change to it, that cannot be.
	ErrPolicy = errors.New("unusable policy")
	// ErrDrift: a queue's settings are not what its policy says; errors.As with *DriftError gives them.
	ErrDrift = errors.New("settings differ from the policy")

	// ErrOption: an option of a job that cannot be sent.
	ErrOption = errors.New("unusable option")
	// ErrQueueFull: the queue is at its limit and refuses more.
	ErrQueueFull = errors.New("the queue is full")
	// ErrTooLarge: the job is larger than the server takes.
	ErrTooLarge = errors.New("the job is too large")
	// ErrLaneBusy: a job was to go to an idle lane only, and the lane has jobs.
	ErrLaneBusy = errors.New("the lane has unfinished jobs")
	// ErrNotFound: no job with this sequence.
	ErrNotFound = errors.New("not found")
	// ErrWorkerAlive: a worker of that id is alive already.
	ErrWorkerAlive = errors.New("a worker with this id is alive")
	// ErrNewerRecord: a record that a newer version wrote, which this one would misread.
	ErrNewerRecord = errors.New("record of a newer Seriatim")
)

// Error codes of the server that the jetstream package has no name for.
const (
	codeNoLeader              jetstream.ErrorCode = 10008
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStoreFailed           jetstream.ErrorCode = 10077
	codeNoMessageToDelete     jetstream.ErrorCode = 10057
	codeSequenceNotFound      jetstream.ErrorCode = 10043
	codeAccountResources      jetstream.ErrorCode = 10002
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeMemoryExceeded        jetstream.ErrorCode = 10028
)

// apiCode is the server's error code in err's chain, or 0.
func apiCode(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

// WrongLast says that a server's error code means that a compare-and-set met another record. Which of the two codes it
// is depends on whether the stream is replicated.
func WrongLast(code jetstream.ErrorCode) bool {
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// IsWrongLast says the same of an error that a publish returned.
func IsWrongLast(err error) bool { return WrongLast(apiCode(err)) }

// explain turns what a JetStream request came back with into one of our kinds, where it is one. A stream that
// is not there means that the queue is unknown.
func explain(op string, q subjects.Queue, err error) error {
	if err == nil {
		return nil
	}
	switch apiCode(err) {
	case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeConsumerNotFound:
		return unknownQueue(op, q)
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return noJetStream(op, err)
	case codeNoLeader:
		return problem.New(op, err, "the cluster has no leader just now; try again in a few seconds")
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return noJetStream(op, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting),
		errors.Is(err, nats.ErrReconnectBufExceeded):
		return problem.New(op, fmt.Errorf("%w: the connection is down: %w", ErrNoServer, err), "is the NATS server running, and reachable from here?")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return problem.New(op, fmt.Errorf("no answer from JetStream in time: %w", err),
			"the server may be overloaded or have no leader, or this user may have no right to ask: see the server's log")
	}
	return problem.New(op, err, "")
}

func unknownQueue(op string, q subjects.Queue) error {
	return problem.New(op, fmt.Errorf("%w %q", ErrUnknownQueue, string(q)), fmt.Sprintf("make it with: coordinator queue add %s", q))
}

func noJetStream(op string, cause error) error {
	return problem.New(op, fmt.Errorf("%w: %w", ErrNoJetStream, cause),
		"start the server with `nats-server -js -sd <folder>`, or put `jetstream { store_dir: <folder> }` in its configuration; with accounts, enable it for this one")
}

// Pause waits for d, or returns why it did not wait to the end. Any goroutine may call it.
func Pause(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bounded gives a context a deadline when it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, RequestTimeout)
}
