package schedule

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// The server's headers of a delayed message.
const (
	headerPattern = "Nats-Schedule"
	headerTarget  = "Nats-Schedule-Target"
	patternAt     = "@at "
)

func laterSubject(q subjects.Queue, token string) string {
	return subjects.PrefixSchedule + "." + string(q) + ".later." + token
}

// delayed is the message that has the server publish a job on due.<queue>.<lane> at a time.
func delayed(q subjects.Queue, token, lane string, h subjects.Header, data []byte, due time.Time) *nats.Msg {
	m := nats.NewMsg(laterSubject(q, token))
	m.Data = data
	m.Header = nats.Header(withoutOwn(subjects.StripServer(h)))
	m.Header.Set(headerPattern, patternAt+due.UTC().Format(time.RFC3339Nano))
	m.Header.Set(headerTarget, q.Due(lane))
	m.Header.Set(headerKey, newKey())
	return m
}

// Message is the message that moves a job of the queue, job with sequence m.Seq, out of its lane, to come back to the
// tail when due has come: never before, by the server's clock. It carries the job's headers and body, and the id of
// this very move (of that sequence and attempt): when the server calls it a duplicate, the move was made before. When it
// is stored, or a duplicate, the job may be deleted. It is to be published as a request; ReadAnswer reads the answer.
func Message(q subjects.Queue, m streams.Message, due time.Time, attempt int) *nats.Msg {
	lane, _ := subjects.LaneOf(m.Subject)
	out := delayed(q, fmt.Sprintf("%s-%d-%d", q.JobsStream(), m.Seq, attempt), lane, m.Header, m.Data, due)
	if subjects.Get(out.Header, subjects.HeaderJobID) == "" {
		out.Header.Set(subjects.HeaderJobID, fmt.Sprintf("%s-%d", q, m.Seq))
	}
	out.Header.Set(subjects.HeaderMsgID, subjects.MoveID(q.JobsStream(), m.Seq, attempt))
	return out
}

// SizeInLane is how large a job is, body and headers, when a Message that was made for it has come to its lane.
func SizeInLane(q subjects.Queue, m *nats.Msg) int {
	lane, _ := subjects.LaneOf(subjects.Get(subjects.Header(m.Header), headerTarget))
	return sizeInLane(q, lane, m)
}

func sizeInLane(q subjects.Queue, lane string, m *nats.Msg) int {
	return moved(q, lane, streams.Message{Header: subjects.Header(m.Header), Data: m.Data}).Size() - len(q.Job(lane))
}

// Later publishes Message and reads the answer; duplicate is as good as stored. Errors as ReadAnswer's. Any goroutine
// may call it.
func Later(ctx context.Context, nc *nats.Conn, q subjects.Queue, m streams.Message, due time.Time, attempt int) (duplicate bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, streams.RequestTimeout)
	defer cancel()
	answer, err := nc.RequestMsgWithContext(ctx, Message(q, m, due, attempt))
	if err != nil {
		return false, problem.New(fmt.Sprintf("delay job %d of %s", m.Seq, q), err, "")
	}
	return ReadAnswer(q, answer)
}

// ReadAnswer reads what came in answer to the publish of a Message. Errors are streams.ErrLaneBusy when a delayed job of
// its id is there (which Message does not ask for), or else what the server says.
func ReadAnswer(q subjects.Queue, answer *nats.Msg) (duplicate bool, err error) {
	op := "delay a job of " + string(q)
	if len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		return false, problem.New(op, fmt.Errorf("stream %s: %w", q.ScheduleStream(), nats.ErrNoResponders), "if it is missing, it is made again by: coordinator queue edit "+string(q))
	}
	var ack struct {
		Stream    string              `json:"stream"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return false, problem.New(op, fmt.Errorf("the answer cannot be read: %w", err), "")
	case ack.Error != nil && streams.WrongLast(ack.Error.ErrorCode):
		return false, problem.New(op, streams.ErrLaneBusy, "")
	case ack.Error != nil:
		return false, problem.New(op, ack.Error, "")
	case ack.Stream != q.ScheduleStream():
		return false, problem.New(op, fmt.Errorf("stream %s takes its subject", ack.Stream), "see what has it: nats stream ls")
	}
	return ack.Duplicate, nil
}

// When is the time of a delayed job: At, or In after the moment at which the server is asked for its time.
type When struct {
	At time.Time
	In time.Duration
}

// Delayed is a job that waits for its time.
type Delayed struct {
	ID        string    `json:"id"`
	Entity    string    `json:"entity"`
	Kind      string    `json:"kind"`
	DueAt     time.Time `json:"due_at"`
	StoredAt  time.Time `json:"stored_at"`
	Size      int       `json:"size"`
	Seq       uint64    `json:"seq"`
	Invalid   string    `json:"invalid,omitempty"`
	duplicate bool
}

// Duplicate says that Publish stored nothing: a job of this id waits for its time already, or did a moment ago.
func (d Delayed) Duplicate() bool { return d.duplicate }

// longest is how far ahead a time may be: what lies beyond is a slip, and the server's clock counts to 2262.
const longest = 100 * 365 * 24 * time.Hour

// Publish stores a job that joins the tail of its lane when its time has come: never before, by the server's clock. A
// job without an id gets one, by which it can be cancelled. A second job of an id is a duplicate as long as the first one
// waits. Errors are ErrSpec (a time that is over by more than a minute, or too far), those of streams.Publish, and the
// trouble with the server.
func Publish(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, o streams.PublishOptions, when When) (Delayed, error) {
	if o.ID == "" {
		o.ID = "later-" + strings.ToLower(rand.Text()[:16])
	}
	return store(ctx, js, q, e, o, when, idToken(o.ID), false)
}

// store stores a delayed job on the subject of that token. replaces says that it takes the place of one that is there;
// else that one stays, and this one is a duplicate.
func store(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, o streams.PublishOptions, when When, token string, replaces bool) (Delayed, error) {
	op := fmt.Sprintf("publish to %s for %s, for later", q, e)
	fail := func(kind error, hint, format string, args ...any) (Delayed, error) {
		return Delayed{}, problem.New(op, fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...)), hint)
	}
	if o.IfIdle {
		return fail(streams.ErrOption, "", "nobody knows now whether the entity will be idle then")
	}
	job, err := o.Message(js.Conn(), q, e)
	if err != nil {
		return Delayed{}, err
	}
	loaded, err := streams.LoadQueue(ctx, js, q)
	if err != nil {
		return Delayed{}, err
	}
	server, err := askTime(ctx, js, q.ScheduleStream())
	if err != nil {
		return Delayed{}, trouble(ctx, js, op, q, err)
	}
	now, due := server.now(), when.At
	if due.IsZero() {
		due = now.Add(when.In)
	}
	switch {
	case due.Before(now.Add(-time.Minute)):
		return fail(ErrSpec, "the server's clock shows "+now.UTC().Format(time.RFC3339), "%s is over", due.UTC().Format(time.RFC3339))
	case due.Sub(now) > longest:
		return fail(ErrSpec, "", "%s is more than a hundred years away", due.UTC().Format(time.RFC3339))
	}
	lane, _ := subjects.LaneOf(job.Subject)
	m := delayed(q, token, lane, subjects.Header(job.Header), job.Data, due)
	if size, most := int64(sizeInLane(q, lane, m)), loaded.Policy.MaxJobSize; most > 0 && size > most {
		return fail(streams.ErrTooLarge, "put the data into an object store and its name into the job", "it is %d bytes with its headers, and queue %s takes %d", size, q, most)
	}
	if replaces {
		m.Header.Set(subjects.HeaderJobID, o.ID) // as a message's id it would make the next one of it a duplicate
	} else {
		m.Header.Set(subjects.HeaderMsgID, o.ID)
		m.Header.Set("Nats-Expected-Last-Subject-Sequence", "0")
	}
	bound, cancel := context.WithTimeout(ctx, streams.RequestTimeout)
	defer cancel()
	answer, err := js.Conn().RequestMsgWithContext(bound, m)
	if err != nil {
		return Delayed{}, trouble(ctx, js, op, q, err)
	}
	duplicate, err := ReadAnswer(q, answer)
	if errors.Is(err, streams.ErrLaneBusy) {
		duplicate, err = true, nil
	}
	kind := o.Kind
	if kind == "" {
		kind = subjects.DefaultKind
	}
	return Delayed{ID: o.ID, Entity: e.String(), Kind: kind, DueAt: due, StoredAt: now, Size: len(o.Data), duplicate: duplicate}, err
}

// idToken is the token of a job's id: any text becomes one that a subject takes.
func idToken(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "id-" + hex.EncodeToString(sum[:16])
}

// ListDelayed lists jobs that wait for their time, in the order in which they were stored; limit 0 is all.
func ListDelayed(ctx context.Context, js jetstream.JetStream, q subjects.Queue, limit int) (list []Delayed, err error) {
	if _, err := streams.LoadQueue(ctx, js, q); err != nil {
		return nil, err
	}
	err = read(ctx, js.Conn(), q, laterSubject(q, ">"), 0, func(m streams.Message) bool {
		list = append(list, delayedInfo(q, m))
		return limit == 0 || len(list) < limit
	})
	if err != nil {
		return nil, trouble(ctx, js, "list the delayed jobs of "+string(q), q, err)
	}
	return list, nil
}

// Find finds the job of an id that waits for its time; or of a sequence, when that is where it stood in its lane before it
// failed and let others pass. It has no sequence of its own. The error is streams.ErrNotFound when there is none, or the
// trouble with the server.
func Find(ctx context.Context, js jetstream.JetStream, q subjects.Queue, ref streams.JobRef) (job streams.Job, due time.Time, err error) {
	op := fmt.Sprintf("find %s of %s among those that wait for their time", ref, q)
	passed := laterSubject(q, fmt.Sprintf("%s-%d-", q.JobsStream(), ref.Seq))
	found := false
	err = read(ctx, js.Conn(), q, laterSubject(q, ">"), 0, func(m streams.Message) bool {
		if found = ref.ID != "" && subjects.Get(m.Header, subjects.HeaderJobID) == ref.ID || ref.ID == "" && strings.HasPrefix(m.Subject, passed); !found {
			return true
		}
		due = delayedInfo(q, m).DueAt
		m.Subject, m.Header = subjects.Get(m.Header, headerTarget), withoutOwn(subjects.StripServer(m.Header))
		job = streams.JobOf(q, m)
		job.Seq = 0
		if found = ref.Entity == nil || job.Entity == ref.Entity.String(); found && job.Carried != nil && !job.Carried.Published.IsZero() {
			job.PublishedAt = job.Carried.Published
		}
		return !found
	})
	switch {
	case err != nil:
		return streams.Job{}, time.Time{}, trouble(ctx, js, op, q, err)
	case !found:
		return streams.Job{}, time.Time{}, problem.New(op, streams.ErrNotFound, "see those that wait: coordinator schedule ls "+string(q)+" --jobs")
	}
	return job, due, nil
}

func delayedInfo(q subjects.Queue, m streams.Message) Delayed {
	d := Delayed{Seq: m.Seq, StoredAt: m.Time, Size: m.Size}
	target := subjects.Get(m.Header, headerTarget)
	d.Entity = target
	if _, _, e, err := subjects.ParseSubject(target); err != nil {
		d.Invalid = err.Error()
	} else {
		d.Entity = e.String()
	}
	h, err := subjects.ReadJobHeader(q, m.Seq, subjects.StripServer(m.Header))
	if err != nil {
		d.Invalid = err.Error()
	}
	d.ID, d.Kind = subjects.Get(m.Header, subjects.HeaderJobID), h.Kind
	// Another pattern, which somebody else wrote, is shown without a time.
	if text, ok := strings.CutPrefix(subjects.Get(m.Header, headerPattern), patternAt); ok {
		d.DueAt, _ = time.Parse(time.RFC3339Nano, text)
	}
	return d
}

// Cancel removes the delayed job of an id, so that it is never published. Errors are streams.ErrNotFound, also when its
// time has come, and the trouble with the server.
func Cancel(ctx context.Context, js jetstream.JetStream, q subjects.Queue, id string) error {
	op := fmt.Sprintf("cancel delayed job %.96q of %s", id, q)
	seq := uint64(0)
	m, err := streams.LastMessage(ctx, js, q.ScheduleStream(), laterSubject(q, idToken(id)))
	switch {
	case err == nil:
		seq = m.Seq
	case !errors.Is(err, streams.ErrNotFound):
		return trouble(ctx, js, op, q, err)
	default: // stored by somebody else, on a subject that says nothing of its id
		err = read(ctx, js.Conn(), q, laterSubject(q, ">"), 0, func(m streams.Message) bool {
			if subjects.Get(m.Header, subjects.HeaderJobID) == id {
				seq = m.Seq
			}
			return seq == 0
		})
		if err != nil {
			return trouble(ctx, js, op, q, err)
		}
	}
	if seq != 0 {
		was, err := streams.DeleteMessage(ctx, js, q.ScheduleStream(), seq)
		if err != nil {
			return trouble(ctx, js, op, q, err)
		}
		if was {
			return nil
		}
	}
	return problem.New(op, streams.ErrNotFound, "see those that wait: coordinator schedule ls "+string(q)+" --jobs")
}
