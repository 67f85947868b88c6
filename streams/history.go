package streams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Finished is the record of a job that is over, in HISTORY_<queue> under its lane. A job that was halted and then released
// has several; the last one counts.
type Finished struct {
	V      int    `json:"v"`
	Seq    uint64 `json:"seq"`
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Entity string `json:"entity"`
	// Outcome is done, dead, halted or cancelled.
	Outcome string `json:"outcome"`
	// Cause and Error are of a job that was not done.
	Cause string `json:"cause,omitempty"`
	Error string `json:"error,omitempty"`
	// Attempts is how often it was started and ended by itself, Interrupted how often it was ended from outside.
	Attempts    int    `json:"attempts"`
	Interrupted int    `json:"interrupted,omitempty"`
	Worker      string `json:"worker,omitempty"`
	Fence       uint64 `json:"fence,omitempty"`
	// PublishedAt, StartedAt (of the last attempt) and EndedAt are by the server's clock.
	PublishedAt time.Time `json:"published_at,omitzero"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	// EndedAt is not in the stored record: it is the message's time.
	EndedAt time.Time `json:"ended_at,omitzero"`
	TookMS  int64     `json:"took_ms"`
	// Log is the end of what the last attempt printed.
	Log string `json:"log,omitempty"`
	// Tries are the attempts that failed, the oldest first.
	Tries []lane.Try `json:"tries,omitempty"`
}

const (
	finishedVersion = 1
	// The record of a job is found by its sequence and its id without reading bodies.
	headerFinishedSeq = "Job-Seq"
	// maxFinished bounds a record in bytes: the smallest server takes that much.
	maxFinished = 16 << 10
)

// Wanted says whether a record of this job is kept under a policy's History.
func (f Finished) Wanted(history string) bool {
	switch history {
	case HistoryOff:
		return false
	case HistoryAll:
		return true
	}
	return f.Outcome != lane.EndDone.String() || len(f.Tries) > 0
}

// Message is the message that stores the record of a job of a lane. Text is cut where the record would become too long.
func (f Finished) Message(q subjects.Queue, laneToken string) *nats.Msg {
	f.V, f.EndedAt = finishedVersion, time.Time{}
	f.Error = oneLine(f.Error, maxDeadText)
	body := compact(f)
	if len(body) > maxFinished { // it is full of control characters, whose escapes are six times as long
		f.Tries = readTries(triesText(f.Tries, maxDeadTries))
		f.Log = strings.ToValidUTF8(f.Log[max(0, len(f.Log)-maxDeadText):], "")
		body = compact(f)
	}
	m := nats.NewMsg(q.History(laneToken))
	m.Data = body
	m.Header.Set(headerFinishedSeq, strconv.FormatUint(f.Seq, 10))
	if f.ID != "" {
		m.Header.Set(subjects.HeaderJobID, f.ID)
	}
	return m
}

// compact is JSON without escapes for HTML.
func compact(v any) []byte {
	var b bytes.Buffer
	w := json.NewEncoder(&b)
	w.SetEscapeHTML(false)
	if err := w.Encode(v); err != nil {
		panic(err) // text, numbers and times always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// errNoRecord is something in a history that is no record, or of a newer version.
var errNoRecord = errors.New("no record that this version can read")

func readFinished(m Message) (Finished, error) {
	var f Finished
	if err := json.Unmarshal(m.Data, &f); err != nil || f.V > finishedVersion {
		return f, errNoRecord
	}
	f.EndedAt = m.Time
	return f, nil
}

// JobRef names one job: by its sequence, or by its id.
type JobRef struct {
	Seq uint64
	ID  string
	// Entity, when it is known, makes the search short.
	Entity *subjects.Entity
}

func (r JobRef) String() string {
	if r.ID != "" {
		return "job " + strconv.Quote(r.ID)
	}
	return "job " + strconv.FormatUint(r.Seq, 10)
}

func (r JobRef) entities() []subjects.Entity {
	if r.Entity == nil {
		return nil
	}
	return []subjects.Entity{*r.Entity}
}

// FindFinished finds the last record of a job. All records are looked at, a million in some seconds, unless the entity is
// known. The error is ErrNotFound when there is none.
func FindFinished(ctx context.Context, js jetstream.JetStream, q subjects.Queue, ref JobRef) (Finished, error) {
	op := fmt.Sprintf("find %s in the history of %s", ref, q)
	var at uint64
	want := strconv.FormatUint(ref.Seq, 10)
	scan := ScanOptions{Subjects: lanesOf(q.HistorySubject, ref.entities())}
	err := Scan(ctx, js, q.HistoryStream(), scan, func(m Message) bool {
		if ref.ID != "" && subjects.Get(m.Header, subjects.HeaderJobID) == ref.ID || ref.ID == "" && subjects.Get(m.Header, headerFinishedSeq) == want {
			at = m.Seq
		}
		return true
	})
	missing := problem.New(op, ErrNotFound, fmt.Sprintf("a history keeps what the queue's policy says: coordinator queue info %s", q))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return Finished{}, noHistory(ctx, js, op, q)
	case err != nil:
		return Finished{}, explain(op, q, err)
	case at == 0:
		return Finished{}, missing
	}
	m, err := GetMessage(ctx, js, q.HistoryStream(), at)
	if errors.Is(err, ErrNotFound) {
		return Finished{}, missing // it was the oldest, and went meanwhile
	}
	if err != nil {
		return Finished{}, explain(op, q, err)
	}
	f, err := readFinished(m)
	if err != nil {
		return Finished{}, problem.New(op, err, "upgrade coordinator on this host")
	}
	return f, nil
}

// FinishedFilter says which records to list. Its conditions must all hold; the zero value is all.
type FinishedFilter struct {
	Entities      []subjects.Entity
	Kind, Outcome string
	// Since and Until bound the end of the job.
	Since, Until time.Time
	// Limit is how many at most, the newest; 0 is no limit.
	Limit int
}

func (f FinishedFilter) matches(r Finished) bool {
	return (f.Kind == "" || f.Kind == r.Kind) && (f.Outcome == "" || f.Outcome == r.Outcome) &&
		(f.Since.IsZero() || !r.EndedAt.Before(f.Since)) && (f.Until.IsZero() || r.EndedAt.Before(f.Until))
}

// ListFinished lists records in the order in which the jobs ended. What cannot be read is left out.
func ListFinished(ctx context.Context, js jetstream.JetStream, q subjects.Queue, f FinishedFilter) ([]Finished, error) {
	op := "list the history of " + string(q)
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return nil, err
	}
	list := []Finished{}
	err := Scan(ctx, js, q.HistoryStream(), ScanOptions{Subjects: lanesOf(q.HistorySubject, f.Entities), Bodies: true}, func(m Message) bool {
		if r, err := readFinished(m); err == nil && f.matches(r) {
			if list = append(list, r); f.Limit > 0 && len(list) >= 2*f.Limit+1000 {
				list = slices.Clone(list[len(list)-f.Limit:])
			}
		}
		return true
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, noHistory(ctx, js, op, q)
	}
	if err != nil {
		return nil, explain(op, q, err)
	}
	if f.Limit > 0 {
		list = list[max(0, len(list)-f.Limit):]
	}
	return list, nil
}

// noHistory tells a queue without a history from no queue at all.
func noHistory(ctx context.Context, js jetstream.JetStream, op string, q subjects.Queue) error {
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return err
	}
	return problem.New(op, fmt.Errorf("the queue has no history yet: %w", ErrNotFound),
		fmt.Sprintf("an earlier version made the queue; make what is missing with: coordinator queue edit %s", q))
}
