package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// The headers that a dead job has beside its own.
const (
	HeaderDeadCause     = "Dead-Cause"
	HeaderDeadError     = "Dead-Error"
	HeaderDeadAttempts  = "Dead-Attempts"
	HeaderDeadSeq       = "Dead-Seq"
	HeaderDeadPublished = "Dead-Published-At"
	HeaderDeadWorker    = "Dead-Worker"
	HeaderDeadHistory   = "Dead-History"
	// HeaderCarried is what a failed job that lets others pass was charged with in its earlier places. It ends with the
	// job: a dead one that is retried begins anew.
	HeaderCarried = "Job-Carried"
	// HeaderDeadRetry is a random text that becomes part of the id under which the job goes back to its queue.
	HeaderDeadRetry = "Dead-Retry"

	deadPrefix   = "Dead-"
	maxDeadText  = 1 << 10
	maxDeadShort = 256
)

// Death is why a job was given up.
type Death struct {
	// Cause is one word: failed, crashed, memory, lost, invalid.
	Cause string
	// Error is the job's last error; more than a kilobyte of it is cut.
	Error string
	// Attempts is how often it was started.
	Attempts int
	// PublishedAt is when the job came in.
	PublishedAt time.Time
	// Worker is the id of the worker that gave it up, History a summary on one line.
	Worker, History string
	// Tries are the attempts that failed, the oldest first.
	Tries []lane.Try
	// Room is the largest message that the server takes, in bytes. Tries are shortened until the letter fits; 0 leaves
	// them the least that every letter has.
	Room int64
}

// DeadMessage is the message that stores a job of the queue, job with sequence m.Seq, as dead. It carries the job's
// headers and body, the death, and the id of this very move (of that sequence and d.Attempts): when the server
// calls it a duplicate, the move was made before, and the job may be deleted.
func DeadMessage(q subjects.Queue, m Message, d Death) *nats.Msg {
	lane, _ := subjects.LaneOf(m.Subject)
	out := nats.NewMsg(q.Dead(lane))
	out.Data = m.Data
	out.Header = withoutDeath(subjects.StripServer(m.Header))
	out.Header.Del(HeaderCarried)
	if subjects.Get(out.Header, subjects.HeaderJobID) == "" {
		out.Header.Set(subjects.HeaderJobID, fmt.Sprintf("%s-%d", q, m.Seq))
	}
	out.Header.Set(subjects.HeaderMsgID, subjects.MoveID(q.JobsStream(), m.Seq, d.Attempts))
	out.Header.Set(HeaderDeadAttempts, strconv.Itoa(d.Attempts))
	out.Header.Set(HeaderDeadRetry, rand.Text())
	out.Header.Set(HeaderDeadSeq, strconv.FormatUint(m.Seq, 10))
	for name, value := range map[string]string{
		HeaderDeadCause: oneLine(d.Cause, maxDeadShort), HeaderDeadError: oneLine(d.Error, maxDeadText),
		HeaderDeadWorker: oneLine(d.Worker, maxDeadShort), HeaderDeadHistory: oneLine(d.History, maxDeadText),
	} {
		if value != "" {
			out.Header.Set(name, value)
		}
	}
	if !d.PublishedAt.IsZero() {
		out.Header.Set(HeaderDeadPublished, d.PublishedAt.UTC().Format(time.RFC3339Nano))
	}
	if text := triesText(d.Tries, d.roomFor(out)); text != "" {
		out.Header.Set(HeaderDeadTries, text)
	}
	return out
}

// roomFor is how long the tries of a letter may be that is complete but for them.
func (d Death) roomFor(letter *nats.Msg) int {
	const own = len(HeaderDeadTries) + len(": \r\n")
	header := headerSize(letter.Header) + own
	left := deathRoom - deathMost
	if d.Room > 0 {
		left = int(d.Room) - header - len(letter.Data)
	}
	return min(maxDeadTries, left, maxHeader-moveRoom-header)
}

// oneLine makes text fit for a header: no line breaks, no control characters, no more than most bytes.
func oneLine(s string, most int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), unicode.IsControl), " ")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
}

// withoutDeath drops the marks of an earlier death, in place, and also a publisher's that look like one.
func withoutDeath(h subjects.Header) subjects.Header {
	for name := range h {
		if len(name) >= len(deadPrefix) && strings.EqualFold(name[:len(deadPrefix)], deadPrefix) {
			delete(h, name)
		}
	}
	return h
}

// DeadInfo is a dead job in a list. Seq is its sequence among the dead, by which it is retried and removed.
type DeadInfo struct {
	Seq         uint64     `json:"seq"`
	Entity      string     `json:"entity"`
	Kind        string     `json:"kind"`
	ID          string     `json:"id"`
	Attempts    int        `json:"attempts"`
	Cause       string     `json:"cause"`
	Error       string     `json:"error"`
	DiedAt      time.Time  `json:"died_at"`
	JobSeq      uint64     `json:"job_seq,omitempty"`
	PublishedAt *time.Time `json:"published_at,omitempty"`
	Worker      string     `json:"worker,omitempty"`
	History     string     `json:"history,omitempty"`
	// Tries are the attempts that failed, the oldest first, as far as there was room for them.
	Tries []lane.Try `json:"tries,omitempty"`
	Size  int        `json:"size"`
}

// DeadFilter says which dead jobs are meant. Its conditions must all hold; the zero value is all dead jobs.
type DeadFilter struct {
	Seqs        []uint64
	Entities    []subjects.Entity
	Kind, Cause string
	// Since and Until bound the time of death.
	Since, Until time.Time
	// Limit is how many at most, the oldest first; 0 is no limit.
	Limit int
}

func (f DeadFilter) matches(d DeadInfo) bool {
	named := func(e subjects.Entity) bool { return e.String() == d.Entity }
	return (len(f.Entities) == 0 || slices.ContainsFunc(f.Entities, named)) && (f.Kind == "" || f.Kind == d.Kind) && (f.Cause == "" || f.Cause == d.Cause) &&
		(f.Since.IsZero() || !d.DiedAt.Before(f.Since)) && (f.Until.IsZero() || d.DiedAt.Before(f.Until))
}

// ListDead lists dead jobs in the order in which they died, without their bodies. In a cluster a list may lag behind by
// moments, except when it is of sequences.
func ListDead(ctx context.Context, js jetstream.JetStream, q subjects.Queue, f DeadFilter) ([]DeadInfo, error) {
	op := "list the dead jobs of " + string(q)
	if _, err := LoadQueue(ctx, js, q); err != nil {
		return nil, err
	}
	dead := []DeadInfo{}
	if len(f.Seqs) > 0 {
		// Asked for by number: the leader knows for certain.
		for _, seq := range slices.Compact(slices.Sorted(slices.Values(f.Seqs))) {
			m, err := GetMessage(ctx, js, q.DeadStream(), seq)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, explain(op, q, err)
			}
			if d := deadInfo(q, m); f.matches(d) {
				dead = append(dead, d)
			}
			if f.Limit != 0 && len(dead) == f.Limit {
				break
			}
		}
		return dead, nil
	}
	scan := ScanOptions{Subjects: lanesOf(q.DeadSubject, f.Entities)}
	err := Scan(ctx, js, q.DeadStream(), scan, func(m Message) bool {
		if d := deadInfo(q, m); f.matches(d) {
			dead = append(dead, d)
		}
		return f.Limit == 0 || len(dead) < f.Limit
	})
	if err != nil {
		return nil, explain(op, q, err)
	}
	return dead, nil
}

// GetDead reads one dead job and its body. The error is ErrNotFound when there is none of that sequence.
func GetDead(ctx context.Context, js jetstream.JetStream, q subjects.Queue, seq uint64) (DeadInfo, Job, error) {
	op := fmt.Sprintf("read dead job %d of %s", seq, q)
	m, err := GetMessage(ctx, js, q.DeadStream(), seq)
	if errors.Is(err, ErrNotFound) {
		return DeadInfo{}, Job{}, problem.New(op, ErrNotFound, fmt.Sprintf("see those that are there: coordinator dead ls %s", q))
	}
	if err != nil {
		return DeadInfo{}, Job{}, explain(op, q, err)
	}
	dead := deadInfo(q, m)
	m.Header = withoutDeath(subjects.StripServer(m.Header))
	return dead, JobOf(q, m), nil
}

func deadInfo(q subjects.Queue, m Message) DeadInfo {
	info, _ := jobInfo(q, m)
	d := DeadInfo{
		Seq: m.Seq, Entity: info.Entity, Kind: info.Kind, ID: info.ID, DiedAt: m.Time, Size: m.Size,
		Cause: subjects.Get(m.Header, HeaderDeadCause), Error: subjects.Get(m.Header, HeaderDeadError),
		Worker: subjects.Get(m.Header, HeaderDeadWorker), History: subjects.Get(m.Header, HeaderDeadHistory),
		Tries: readTries(subjects.Get(m.Header, HeaderDeadTries)),
	}
	// What does not parse was written by somebody else and is shown as not known.
	d.Attempts, _ = strconv.Atoi(subjects.Get(m.Header, HeaderDeadAttempts))
	d.JobSeq, _ = strconv.ParseUint(subjects.Get(m.Header, HeaderDeadSeq), 10, 64)
	if at, err := time.Parse(time.RFC3339Nano, subjects.Get(m.Header, HeaderDeadPublished)); err == nil {
		d.PublishedAt = &at
	}
	return d
}

// RetryDead puts dead jobs back at the end of their lanes, in the order in which they died, with a fresh count of
// attempts, and returns how many. Each is stored before it is removed from the dead; when the call is cut short, the
// same call made again within the queue's duplicate window (two minutes) does nothing twice. It stops at the first job
// that cannot be moved (ErrQueueFull …), so that none overtakes it.
func RetryDead(ctx context.Context, js jetstream.JetStream, q subjects.Queue, f DeadFilter) (moved int, err error) {
	dead, err := ListDead(ctx, js, q, f)
	if err != nil {
		return 0, err
	}
	for _, d := range dead {
		op := fmt.Sprintf("retry dead job %d of %s", d.Seq, q)
		m, err := GetMessage(ctx, js, q.DeadStream(), d.Seq)
		if errors.Is(err, ErrNotFound) {
			continue // somebody else retries or removes
		}
		if err != nil {
			return moved, explain(op, q, err)
		}
		if _, err := send(ctx, js.Conn(), op, q, revived(q, m, d)); errors.Is(err, ErrTooLarge) {
			return moved, problem.New(op, fmt.Errorf("with the id that a retry adds: %w", err),
				fmt.Sprintf("raise the queue's limit a little, for as long as this takes: coordinator queue edit %s --max-job-size …", q))
		} else if err != nil {
			return moved, err
		}
		was, err := DeleteMessage(ctx, js, q.DeadStream(), d.Seq)
		if err != nil {
			return moved, explain(op, q, err)
		}
		if was {
			moved++
		}
	}
	return moved, nil
}

func revived(q subjects.Queue, m Message, d DeadInfo) *nats.Msg {
	lane, _ := subjects.LaneOf(m.Subject)
	out := nats.NewMsg(q.Job(lane))
	out.Data = m.Data
	out.Header = withoutDeath(subjects.StripServer(m.Header))
	out.Header.Del(HeaderCarried) // in case that somebody else stored the letter
	// "Duplicate" in answer to this id lets the dead job be removed, so no publisher may be able to use it up before.
	secret := subjects.Get(m.Header, HeaderDeadRetry)
	if secret == "" { // stored by somebody else
		secret = strconv.FormatInt(m.Time.UnixNano(), 36)
	}
	out.Header.Set(subjects.HeaderMsgID, subjects.SecretMoveID(q.DeadStream(), m.Seq, d.Attempts, secret))
	return out
}

// RemoveDead removes dead jobs for good and returns how many.
func RemoveDead(ctx context.Context, js jetstream.JetStream, q subjects.Queue, f DeadFilter) (removed int, err error) {
	dead, err := ListDead(ctx, js, q, f)
	if err != nil {
		return 0, err
	}
	for _, d := range dead {
		was, err := DeleteMessage(ctx, js, q.DeadStream(), d.Seq)
		if err != nil {
			return removed, explain(fmt.Sprintf("remove dead job %d of %s", d.Seq, q), q, err)
		}
		if was {
			removed++
		}
	}
	return removed, nil
}
