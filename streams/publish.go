package streams

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

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
	// OnFailure and OnDead, when not empty, say otherwise than the queue's policy: FailureBlock or FailurePass,
	// DeadContinue or DeadHalt.
	OnFailure, OnDead string
	// ReplyTo is a subject that gets the outcome: an inbox, or one below "results", because workers send to no other.
	ReplyTo string
	// Header are the publisher's own, and traceparent. Names that begin with Job- or Nats- are refused.
	Header map[string][]string
	// IfIdle publishes only if the entity has no unfinished job.
	IfIdle bool
}

// Publish stores one job and returns its sequence; duplicate says that a job with this id was stored before, as that
// sequence. When it returns nil the job is stored as safely as the queue's replicas are.
//
// Errors are ErrUnknownQueue, ErrQueueFull, ErrTooLarge, ErrLaneBusy (IfIdle), ErrOption, and what subjects says of
// names. After any other error, a lost connection or a context that ended, the job may have been stored: publish it
// again with the same ID.
func Publish(ctx context.Context, nc *nats.Conn, q subjects.Queue, e subjects.Entity, o PublishOptions) (seq uint64, duplicate bool, err error) {
	op := publishing(q, e)
	msg, err := o.message(op, nc, q, e)
	if err != nil {
		return 0, false, err
	}
	ack, err := send(ctx, nc, op, q, msg)
	return ack.Seq, ack.Duplicate, err
}

func publishing(q subjects.Queue, e subjects.Entity) string {
	return fmt.Sprintf("publish to %s for %s", q, e)
}

// Message is the message that publishes a job, for those who publish many without waiting for each one's answer; the
// answers are read by ReadAnswer. It refuses what would make the job invalid, too large, or something else than was
// meant. Errors are ErrOption, ErrTooLarge, and what subjects says of names.
func (o PublishOptions) Message(nc *nats.Conn, q subjects.Queue, e subjects.Entity) (*nats.Msg, error) {
	return o.message(publishing(q, e), nc, q, e)
}

func (o PublishOptions) message(op string, nc *nats.Conn, q subjects.Queue, e subjects.Entity) (*nats.Msg, error) {
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
	if o.ReplyTo != "" && !subjects.MayReply(o.ReplyTo) {
		return nil, bad("Job-Reply-To: no worker replies to %q", "name an inbox, or a subject below results and the queue, such as results.ci.mine", o.ReplyTo)
	}
	set(subjects.HeaderOnFailure, o.OnFailure)
	set(subjects.HeaderOnDead, o.OnDead)
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
	return msg, checkSize(op, nc, msg)
}
