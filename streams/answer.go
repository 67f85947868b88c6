package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// Ack says that a job is stored.
type Ack struct {
	Seq uint64
	// Duplicate says that this publish was not stored, because one with its id was, as Seq.
	Duplicate bool
}

// ReadAnswer reads what came in answer to the publish of a job of q. Errors are ErrUnknownQueue, ErrQueueFull,
// ErrTooLarge, ErrLaneBusy, or the trouble with the server. The error is nats.ErrNoResponders too when nobody took the
// publish: a stream whose leader is being elected looks like one that is not there, so ask again a few times before
// believing it.
func ReadAnswer(q subjects.Queue, answer *nats.Msg) (Ack, error) {
	return readAnswer("publish to "+string(q), q, answer)
}

func readAnswer(op string, q subjects.Queue, answer *nats.Msg) (Ack, error) {
	if len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		return Ack{}, nobody(op, q)
	}
	var ack struct {
		Stream    string              `json:"stream"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error == nil && ack.Stream != q.JobsStream() {
		return Ack{}, problem.New(op, fmt.Errorf("%w %q: something else than its stream answers", ErrUnknownQueue, string(q)),
			fmt.Sprintf("see what has its subjects: nats stream ls; make the queue with: coordinator queue add %s", q))
	}
	if ack.Error != nil {
		return Ack{}, refusal(op, q, ack.Error)
	}
	return Ack{ack.Seq, ack.Duplicate}, nil
}

// nobody is unknownQueue for those who may ask again.
func nobody(op string, q subjects.Queue) error {
	err := unknownQueue(op, q)
	return problem.New(op, noResponders{errors.Unwrap(err)}, problem.Hint(err))
}

// noResponders is nats.ErrNoResponders too, in the words of what it wraps.
type noResponders struct{ error }

func (n noResponders) Is(target error) bool { return target == nats.ErrNoResponders }
func (n noResponders) Unwrap() error        { return n.error }

// refusal says what a refused publish means. One code stands for every failure to store, so its text is looked at.
func refusal(op string, q subjects.Queue, e *jetstream.APIError) error {
	if WrongLast(e.ErrorCode) {
		return problem.New(op, ErrLaneBusy, fmt.Sprintf("see what is there: coordinator job ls %s --entity …", q))
	}
	switch e.ErrorCode {
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return problem.New(op, fmt.Errorf("%w: %s", ErrTooLarge, e.Description),
			fmt.Sprintf("%s; the queue's limit is max_job_size in: coordinator queue info %s --json", smaller, q))
	case codeStoreFailed:
		if e.Description == "maximum messages exceeded" || e.Description == "maximum bytes exceeded" {
			return problem.New(op, fmt.Errorf("%w: %s", ErrQueueFull, e.Description),
				fmt.Sprintf("add workers, or raise its limit: coordinator queue edit %s --max-msgs … --max-bytes …", q))
		}
	case codeInsufficientResources, codeAccountResources, codeStorageExceeded, codeMemoryExceeded:
		return problem.New(op, fmt.Errorf("%w: JetStream has no room left: %w", ErrQueueFull, e), "give the server or the account more storage, or empty other streams")
	}
	return explain(op, q, e)
}

const (
	// A leader that is being elected answers nobody, just as an unknown queue does; so ask again before saying so.
	publishTries = 3
	publishPause = 250 * time.Millisecond
)

// send publishes a message to a queue's jobs and reads the answer.
func send(ctx context.Context, nc *nats.Conn, op string, q subjects.Queue, msg *nats.Msg) (Ack, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	for try := 1; ; try++ {
		answer, err := nc.RequestMsgWithContext(ctx, msg)
		switch {
		case err == nil:
			return readAnswer(op, q, answer)
		case !errors.Is(err, nats.ErrNoResponders):
			return Ack{}, explain(op, q, err)
		case try == publishTries:
			return Ack{}, nobody(op, q)
		}
		if Pause(ctx, publishPause) != nil {
			return Ack{}, nobody(op, q)
		}
	}
}
