package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// ErrExists: there is another schedule of that name.
var ErrExists = errors.New("there is a schedule of that name")

// ErrBusy: others changed the schedule all the time.
var ErrBusy = errors.New("others change it at the same time")

// writeTries is how often a change is made to what others have changed meanwhile.
const writeTries = 10

// New is a schedule to be made.
type New struct {
	Name   string
	Entity subjects.Entity
	Spec   Spec
	// In, when it is not 0, makes Spec.At so long after now, by the server's clock; Spec.At may then be any time.
	In      time.Duration
	Overlap Overlap
	Paused  bool
	// Job is what is published each time. Its ID must be empty: each run gets one of its own.
	Job streams.PublishOptions
	// Replace takes the place of a schedule of that name, which keeps its history, and its pause unless Paused is set.
	Replace bool
}

// Change says what Add did.
type Change string

// What Add does.
const (
	Created   Change = "created"
	Replaced  Change = "replaced"
	Unchanged Change = "unchanged"
)

// Add makes a schedule, or changes the one of that name. One that is there already and says the same is left as it is,
// also without Replace. Its first time is after now, by the server's clock; a single time that is over is refused.
// Errors are ErrName, ErrSpec, ErrExists, ErrBusy, those of streams.Publish, and the trouble with the server.
func Add(ctx context.Context, js jetstream.JetStream, q subjects.Queue, n New) (s Schedule, did Change, err error) {
	op := fmt.Sprintf("add schedule %s to %s", n.Name, q)
	now, s, err := Prepare(ctx, js, q, n)
	if err != nil {
		return s, "", err
	}
	for range writeTries {
		is, err := Get(ctx, js, q, n.Name)
		switch {
		case errors.Is(err, streams.ErrNotFound):
			did, s.Seq = Created, 0
		case err != nil:
			return s, "", err
		case is.same(s) && (!n.Paused || is.Paused):
			return is, Unchanged, nil
		case !n.Replace:
			return is, "", problem.New(op, fmt.Errorf("%w, of %s, %s", ErrExists, is.Entity, is.Spec), "take its place with --replace, or choose another name")
		default:
			did = Replaced
			s.inherit(is, now)
		}
		if err := put(ctx, js, q, &s); err == nil {
			return s, did, nil
		} else if !streams.IsWrongLast(err) {
			return s, "", trouble(ctx, js, op, q, err)
		}
	}
	return s, "", problem.New(op, ErrBusy, "try again")
}

// Prepare checks all that can be checked of a schedule that is to be made, without making it, and returns it with its
// first time. now is the server's clock. Errors as Add's.
func Prepare(ctx context.Context, js jetstream.JetStream, q subjects.Queue, n New) (now time.Time, s Schedule, err error) {
	op := fmt.Sprintf("add schedule %s to %s", n.Name, q)
	fail := func(kind error, hint, format string, args ...any) (time.Time, Schedule, error) {
		return now, s, problem.New(op, fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...)), hint)
	}
	if err = CheckName(n.Name); err != nil {
		return now, s, err
	}
	if n.Overlap, err = ParseOverlap(string(n.Overlap)); err != nil {
		return now, s, err
	}
	if n.Job.ID != "" || n.Job.IfIdle {
		return fail(ErrSpec, "the overlap says what happens when the last run is not finished", "its jobs cannot have an id or a condition of their own")
	}
	if _, err := n.Spec.Times(); err != nil {
		return now, s, err
	}
	msg, err := n.Job.Message(js.Conn(), q, n.Entity)
	if err != nil {
		return now, s, err
	}
	loaded, err := streams.LoadQueue(ctx, js, q)
	if err != nil {
		return now, s, err
	}
	server, err := askTime(ctx, js, q.ScheduleStream())
	if err != nil {
		return now, s, trouble(ctx, js, op, q, err)
	}
	now = server.now()
	if n.Spec.Every != 0 && n.Spec.Start.IsZero() {
		n.Spec.Start = now.Add(time.Second - 1).Truncate(time.Second) // for times that are easy to read
	}
	if n.In != 0 {
		n.Spec.At = now.Add(n.In)
	}
	times, err := n.Spec.Times()
	if err != nil {
		return now, s, err
	}
	s = Schedule{Header: subjects.Header(msg.Header), Data: msg.Data, Record: Record{
		V: recordVersion, Name: n.Name, Entity: n.Entity.String(), Spec: n.Spec, Overlap: n.Overlap, Paused: n.Paused,
		CreatedAt: now, UpdatedAt: now, Key: newKey(),
	}}
	first, ok := times.Next(now)
	if !ok {
		return fail(ErrSpec, fmt.Sprintf("the server's clock shows %s", now.UTC().Format(time.RFC3339)), "%s is over", n.Spec)
	}
	if !n.Paused {
		s.Next = first
	}
	run, err := s.job(q, first)
	if err != nil {
		return now, s, err
	}
	if size, most := int64(run.Size()-len(run.Subject)), loaded.Policy.MaxJobSize; most > 0 && size > most {
		return fail(streams.ErrTooLarge, "put the data into an object store and its name into the job", "a run is %d bytes with its headers, and queue %s takes %d", size, q, most)
	}
	return now, s, nil
}

// same says that two schedules say the same.
func (s Schedule) same(t Schedule) bool {
	return s.Entity == t.Entity && s.Spec.Same(t.Spec) && s.Overlap == t.Overlap && bytes.Equal(s.Data, t.Data) &&
		maps.EqualFunc(withoutOwn(subjects.StripServer(s.Header)), withoutOwn(subjects.StripServer(t.Header)), slices.Equal[[]string])
}

// inherit makes s the successor of a schedule of its name.
func (s *Schedule) inherit(is Schedule, now time.Time) {
	s.Seq, s.CreatedAt, s.UpdatedAt, s.Key = is.Seq, is.CreatedAt, now, is.Key
	s.Pending, s.Last, s.Runs, s.Skipped, s.By = is.Pending, is.Last, is.Runs, is.Skipped, is.By
	if s.Spec.Same(is.Spec) { // only its job changes, or how it overlaps
		s.Spec, s.Next = is.Spec, is.Next
	}
	if is.Paused {
		s.Paused = true
	}
	if s.Paused {
		s.Next = time.Time{}
	}
}

// put stores a schedule in place of the one with its sequence, and gives it the new one. A lost race is told by
// streams.IsWrongLast.
func put(ctx context.Context, js jetstream.JetStream, q subjects.Queue, s *Schedule) error {
	m, err := s.message(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, streams.RequestTimeout)
	defer cancel()
	ack, err := js.PublishMsg(ctx, m)
	if err != nil {
		return err
	}
	if ack.Stream != q.ScheduleStream() {
		return fmt.Errorf("stream %s takes its subject", ack.Stream)
	}
	s.Seq = ack.Sequence
	return nil
}

// change changes a schedule that is there; with false nothing needs to be changed.
func change(ctx context.Context, js jetstream.JetStream, op string, q subjects.Queue, name string, do func(*Schedule, time.Time) bool) (Schedule, bool, error) {
	for range writeTries {
		s, err := Get(ctx, js, q, name)
		if err != nil {
			return s, false, err
		}
		server, err := askTime(ctx, js, q.ScheduleStream())
		if err != nil {
			return s, false, trouble(ctx, js, op, q, err)
		}
		if !do(&s, server.now()) {
			return s, false, nil
		}
		s.UpdatedAt = server.now()
		if err := put(ctx, js, q, &s); err == nil {
			return s, true, nil
		} else if !streams.IsWrongLast(err) {
			return s, false, trouble(ctx, js, op, q, err)
		}
	}
	return Schedule{}, false, problem.New(op, ErrBusy, "try again")
}

// Pause stops a schedule: its times pass without a run until Resume. changed is false when it was paused before. Errors
// are streams.ErrNotFound, ErrBusy, and the trouble with the server.
func Pause(ctx context.Context, js jetstream.JetStream, q subjects.Queue, name string) (s Schedule, changed bool, err error) {
	return change(ctx, js, fmt.Sprintf("pause schedule %s of %s", name, q), q, name, func(s *Schedule, _ time.Time) bool {
		if s.Paused {
			return false
		}
		s.Paused, s.Next = true, time.Time{}
		return true
	})
}

// Resume lets a paused schedule go on with its next time. A single time that passed meanwhile comes at once: it would
// never come otherwise. Results as Pause's.
func Resume(ctx context.Context, js jetstream.JetStream, q subjects.Queue, name string) (s Schedule, changed bool, err error) {
	return change(ctx, js, fmt.Sprintf("resume schedule %s of %s", name, q), q, name, func(s *Schedule, now time.Time) bool {
		if !s.Paused {
			return false
		}
		s.Paused = false
		if s.Next = s.Spec.At; s.Next.IsZero() {
			if times, err := s.Spec.Times(); err == nil { // it was checked when it was made
				s.Next, _ = times.Next(now)
			}
		}
		return true
	})
}

// Remove removes a schedule. What it has published stays. Errors as Pause's.
func Remove(ctx context.Context, js jetstream.JetStream, q subjects.Queue, name string) error {
	op := fmt.Sprintf("remove schedule %s of %s", name, q)
	if err := CheckName(name); err != nil {
		return err
	}
	for range writeTries {
		// One that cannot be read can be removed.
		m, err := streams.LastMessage(ctx, js, q.ScheduleStream(), namedSubject(q, name))
		if errors.Is(err, streams.ErrNotFound) {
			return problem.New(op, streams.ErrNotFound, "see those that are there: coordinator schedule ls "+string(q))
		}
		if err != nil {
			return trouble(ctx, js, op, q, err)
		}
		was, err := streams.DeleteMessage(ctx, js, q.ScheduleStream(), m.Seq)
		if err != nil {
			return trouble(ctx, js, op, q, err)
		}
		if was {
			return nil
		}
	}
	return problem.New(op, ErrBusy, "try again")
}
