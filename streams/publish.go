package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// PublishOptions are a job but for its entity. The zero value is a job of the default kind without a body.
type PublishOptions struct {
	Kind string
	// ID makes a second publish within two minutes a duplicate. Empty: the job is called <queue>-<seq>.
	ID   string
	Data []byte
	// Timeout and MaxAttempts of 0 leave it to the pool and the queue's policy.
	Timeout     time.Duration
	MaxAttempts int
	// ReplyTo is a subject that gets the outcome.
	ReplyTo string
	// Header are the publisher's own, and traceparent. Names that begin with Job- or Nats- are refused.
	Header map[string][]string
	// IfIdle publishes only if the entity has no unfinished job.
	IfIdle bool
}

const (
	// A leader that is being elected answers nobody, just as an unknown queue does; so ask again before saying so.
	publishTries = 3
	publishPause = 250 * time.Millisecond
)

// Publish stores one job and returns its sequence; duplicate says that a job with this id was stored before, as that
// sequence. When it returns nil the job is stored as safely as the queue's replicas are.
//
// Errors are ErrUnknownQueue, ErrQueueFull, ErrTooLarge, ErrLaneBusy (IfIdle), ErrOption, and what subjects says of
// names. After any other error, a lost connection or a context that ended, the job may have been stored: publish it
// again with the same ID.
func Publish(ctx context.Context, nc *nats.Conn, q subjects.Queue, e subjects.Entity, o PublishOptions) (seq uint64, duplicate bool, err error) {
	op := fmt.Sprintf("publish to %s for %s", q, e)
	msg, err := o.message(op, q, e)
	if err != nil {
		return 0, false, err
	}
	if err := checkSize(op, nc, msg); err != nil {
		return 0, false, err
	}
	return send(ctx, nc, op, q, msg)
}

// message builds the message, and refuses what would make it an invalid job, or something else than was meant.
func (o PublishOptions) message(op string, q subjects.Queue, e subjects.Entity) (*nats.Msg, error) {
	if _, err := subjects.ParseQueue(string(q)); err != nil {
		return nil, err
	}
	if _, err := subjects.NewEntity(e.Type, e.ID); err != nil {
		return nil, err
	}
	bad := func(why, hint string, args ...any) error {
		return problem.New(op, fmt.Errorf("%w: %s", ErrOption, fmt.Sprintf(why, args...)), hint)
	}
	msg := nats.NewMsg(q.JobSubject(e))
	msg.Data = o.Data
	for name, values := range o.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "nats-") || strings.HasPrefix(lower, "job-") {
			return nil, bad("header %q is not a publisher's to set", "names that begin with Job- or Nats- have options of their own", name)
		}
		if name == "" || strings.ContainsAny(name, ":\r\n") || lower == "status" || lower == "description" {
			return nil, bad("header %q has no usable name", "a name has no colon and no line break, and is not Status or Description, which clients take for the server's", name)
		}
		msg.Header[name] = append([]string(nil), values...)
	}
	set := func(name, value string) {
		if value != "" {
			msg.Header.Set(name, value)
		}
	}
	set(subjects.HeaderKind, o.Kind)
	set(subjects.HeaderMsgID, o.ID)
	set(subjects.HeaderReplyTo, o.ReplyTo)
	if o.Timeout < 0 || o.MaxAttempts < 0 {
		return nil, bad("a timeout or a number of attempts is below zero", "0 leaves it to the queue")
	}
	if o.Timeout > 0 {
		set(subjects.HeaderTimeout, o.Timeout.String())
	}
	if o.MaxAttempts > 0 {
		set(subjects.HeaderMaxAttempts, strconv.Itoa(o.MaxAttempts))
	}
	if o.IfIdle {
		set("Nats-Expected-Last-Subject-Sequence", "0")
	}
	for name, values := range msg.Header {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n") {
				return nil, bad("header %s has a line break in it", "put text of several lines into the body", name)
			}
		}
	}
	// The last word is that of the reader: what it could not use is refused here and not when the job is to run.
	if _, err := subjects.ReadJobHeader(q, 0, msg.Header); err != nil {
		return nil, problem.New(op, fmt.Errorf("%w: %w", ErrOption, err), problem.Hint(err))
	}
	return msg, nil
}

// send publishes a message to a queue's jobs and reads the answer.
func send(ctx context.Context, nc *nats.Conn, op string, q subjects.Queue, msg *nats.Msg) (seq uint64, duplicate bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var answer *nats.Msg
	for try := 1; ; try++ {
		answer, err = nc.RequestMsgWithContext(ctx, msg)
		if !errors.Is(err, nats.ErrNoResponders) {
			break
		}
		if try == publishTries {
			return 0, false, unknownQueue(op, q)
		}
		timer := time.NewTimer(publishPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, false, unknownQueue(op, q)
		}
	}
	if err != nil {
		return 0, false, explain(op, q, err)
	}
	var ack struct {
		Stream    string              `json:"stream"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil || ack.Error == nil && ack.Stream != q.JobsStream() {
		return 0, false, problem.New(op, fmt.Errorf("%w: something else than its stream answers on %s", ErrUnknownQueue, msg.Subject),
			fmt.Sprintf("see what has that subject: nats stream ls; make the queue with: coordinator queue add %s", q))
	}
	if ack.Error != nil {
		return 0, false, publishError(op, q, ack.Error)
	}
	return ack.Seq, ack.Duplicate, nil
}

// publishError says what a refusal means. One code stands for every failure to store, so its text is looked at.
func publishError(op string, q subjects.Queue, e *jetstream.APIError) error {
	switch e.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return problem.New(op, ErrLaneBusy, fmt.Sprintf("see what is there: coordinator lane info %s …", q))
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return problem.New(op, fmt.Errorf("%w: %s", ErrTooLarge, e.Description),
			fmt.Sprintf("%s; the queue's limit is max_job_size in: coordinator queue info %s --json", smaller, q))
	case codeStoreFailed:
		if e.Description == "maximum messages exceeded" || e.Description == "maximum bytes exceeded" {
			return problem.New(op, fmt.Errorf("%w: %s", ErrQueueFull, e.Description),
				fmt.Sprintf("add workers, or raise its limit: coordinator queue edit %s --max-bytes …", q))
		}
	case codeInsufficientResources, codeAccountResources, codeStorageExceeded, codeMemoryExceeded:
		return problem.New(op, fmt.Errorf("%w: JetStream has no room left: %w", ErrQueueFull, e), "give the server or the account more storage, or empty other streams")
	}
	return explain(op, q, e)
}
