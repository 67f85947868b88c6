package schedule

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Overlap says what happens at a time at which the last run is not finished.
type Overlap string

// The ways to overlap.
const (
	// Queue: the run is published all the same, and waits in its lane.
	Queue Overlap = "queue"
	// Skip: there is no run at this time.
	Skip Overlap = "skip"
	// Coalesce: one run may wait behind the one that has begun; further ones are none.
	Coalesce Overlap = "coalesce"
)

// Outcomes of a time of a schedule.
const (
	Published = "published"
	// Skipped and Merged: there was no run, because of Skip and Coalesce.
	Skipped = "skipped"
	Merged  = "merged"
	// Refused: the queue cannot take the job; Error says why.
	Refused = "refused"
)

// The headers of schedules and of the jobs that they publish.
const (
	// HeaderName and HeaderTime tell a job of a schedule whose run it is, and of which time. A child finds them in
	// JOB_HEADER_SCHEDULE_NAME and JOB_HEADER_SCHEDULE_TIME.
	HeaderName = "Schedule-Name"
	HeaderTime = "Schedule-Time"

	headerRecord = "Schedule-Record" // a record, as JSON
	headerKey    = "Schedule-Key"    // what makes the id of a delayed job's move secret
	ownPrefix    = "Schedule-"
)

// recordVersion is that of the records that this build writes.
const recordVersion = 1

// Record is a named schedule as it is stored, but for its job.
type Record struct {
	V         int       `json:"v"`
	Name      string    `json:"name"`
	Entity    string    `json:"entity"`
	Spec      Spec      `json:"spec"`
	Overlap   Overlap   `json:"overlap"`
	Paused    bool      `json:"paused,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	// Next is the next time; zero when there is none, or when it is paused.
	Next time.Time `json:"next,omitzero"`
	// Pending is a time that is being fired.
	Pending *Pending `json:"pending,omitempty"`
	Last    *Run     `json:"last,omitempty"`
	// Runs counts the jobs that were published, Skipped the times without one.
	Runs    uint64 `json:"runs,omitempty"`
	Skipped uint64 `json:"skipped,omitempty"`
	// Key is a secret, because it becomes part of the ids of what is published where publishers may write too.
	Key string `json:"key"`
	// By is the worker that fired last. It goes first next time, so that the others need not try.
	By string `json:"by,omitempty"`
}

// Pending is a time whose job may be published or not.
type Pending struct {
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`
}

// Run is what became of a time.
type Run struct {
	At      time.Time `json:"at"`
	FiredAt time.Time `json:"fired_at"`
	Outcome string    `json:"outcome"`
	// ID and Seq are those of the job. Of a time without a run they are still those of the run before it.
	ID    string `json:"id,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`
	Error string `json:"error,omitempty"`
}

// Schedule is a record with its job: the headers and the body of what is published.
type Schedule struct {
	Record
	Header subjects.Header
	Data   []byte
	// Seq is that of the record: it is replaced only as long as it has this one.
	Seq uint64
}

func newKey() string { return strings.ToLower(rand.Text()) }

// ErrName: no name of a schedule.
var ErrName = errors.New("not a name of a schedule")

// CheckName refuses names that cannot be: 1 to 64 of A-Z, a-z, 0-9, _ and -. The error is ErrName.
func CheckName(name string) error {
	if !subjects.IsType(name) { // the same alphabet
		return problem.New(fmt.Sprintf("read schedule name %.96q", name), ErrName, "use 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	return nil
}

// ParseOverlap reads a way to overlap; empty is Queue.
func ParseOverlap(text string) (Overlap, error) {
	switch o := Overlap(text); o {
	case "":
		return Queue, nil
	case Queue, Skip, Coalesce:
		return o, nil
	}
	return "", problem.New("read schedule", fmt.Errorf("%w: overlap %q", ErrSpec, text), "it is one of queue, skip and coalesce")
}

func namedSubject(q subjects.Queue, name string) string {
	return subjects.PrefixSchedule + "." + string(q) + ".named." + name
}

// message is what stores a schedule in place of the one with its sequence; 0 is in place of none.
func (s Schedule) message(q subjects.Queue) (*nats.Msg, error) {
	record, err := json.Marshal(s.Record)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(namedSubject(q, s.Name))
	m.Header = nats.Header(withoutOwn(subjects.StripServer(s.Header)))
	m.Header.Set(headerRecord, string(record))
	m.Header.Set("Nats-Rollup", "sub")
	m.Header.Set("Nats-Expected-Last-Subject-Sequence", fmt.Sprint(s.Seq))
	m.Data = s.Data
	return m, nil
}

// readSchedule reads a stored schedule. Errors are ErrNewerRecord, and that it was written by somebody else.
func readSchedule(m streams.Message) (Schedule, error) {
	s := Schedule{Data: m.Data, Seq: m.Seq}
	op := "read schedule " + lastToken(m.Subject)
	if err := json.Unmarshal([]byte(subjects.Get(m.Header, headerRecord)), &s.Record); err != nil {
		return s, problem.New(op, fmt.Errorf("its record cannot be read: %w", err), "was it written by hand? Remove it with: coordinator schedule rm")
	}
	if s.V > recordVersion {
		return s, problem.New(op, fmt.Errorf("%w: version %d", streams.ErrNewerRecord, s.V), "upgrade workerd and coordinator on this host")
	}
	if s.Name != lastToken(m.Subject) {
		return s, problem.New(op, fmt.Errorf("its record is that of %q", s.Name), "was it written by hand? Remove it with: coordinator schedule rm")
	}
	s.Header = withoutOwn(subjects.StripServer(m.Header))
	return s, nil
}

func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// withoutOwn drops the headers of this package, in place, and also a publisher's that look like them.
func withoutOwn(h subjects.Header) subjects.Header {
	for name := range h {
		if len(name) >= len(ownPrefix) && strings.EqualFold(name[:len(ownPrefix)], ownPrefix) {
			delete(h, name)
		}
	}
	return h
}

// jobID is the id of a run: the schedule's name and the time, in UTC.
func (r Record) jobID(at time.Time) string {
	layout := "20060102T150405Z"
	if at.Nanosecond() != 0 {
		layout = "20060102T150405.000000000Z"
	}
	return r.Name + "-" + at.UTC().Format(layout)
}

// job is the message that publishes the run of a time. Its id is the same whoever publishes it.
func (s Schedule) job(q subjects.Queue, at time.Time) (*nats.Msg, error) {
	e, err := subjects.ParseEntity(s.Entity)
	if err != nil {
		return nil, err
	}
	m := nats.NewMsg(q.JobSubject(e))
	m.Data = s.Data
	m.Header = nats.Header(subjects.StripServer(s.Header))
	m.Header.Set(subjects.HeaderJobID, s.jobID(at))
	m.Header.Set(subjects.HeaderMsgID, subjects.SecretMoveID(q.ScheduleStream(), uint64(max(at.UnixNano(), 0)), 0, s.Key))
	m.Header.Set(HeaderName, s.Name)
	m.Header.Set(HeaderTime, at.UTC().Format(time.RFC3339Nano))
	return m, nil
}
