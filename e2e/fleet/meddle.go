package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// Meddler does to a queue's streams, behind the system's back, what crashes and careless people do.
type Meddler struct {
	nc *nats.Conn
	js jetstream.JetStream
	q  subjects.Queue
}

// NewMeddler connects to a server. Close ends the connection.
func NewMeddler(url, queue string) (*Meddler, error) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return nil, problem.New("connect to meddle", err, "")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, problem.New("connect to meddle", err, "")
	}
	return &Meddler{nc, js, subjects.Queue(queue)}, nil
}

// Close ends the connection.
func (m *Meddler) Close() { m.nc.Close() }

// Publish publishes a job for each entity as fast as can be, as a client does that does not wait for answers.
func (m *Meddler) Publish(kind, body string, entities ...string) error {
	for _, entity := range entities {
		e, err := subjects.ParseEntity(entity)
		if err != nil {
			return err
		}
		msg := nats.NewMsg(m.q.JobSubject(e))
		msg.Header.Set(subjects.HeaderKind, kind)
		msg.Data = []byte(body)
		if err := m.nc.PublishMsg(msg); err != nil {
			return problem.New("publish a job of "+entity, err, "")
		}
	}
	return problem.New("publish jobs", m.nc.Flush(), "")
}

// Double takes the turn of each entity away from whoever holds it, and publishes a second one.
func (m *Meddler) Double(ctx context.Context, entities ...string) (doubled int, err error) {
	turns, err := m.js.Stream(ctx, m.q.TurnsStream())
	if err != nil {
		return 0, problem.New("double turns", err, "")
	}
	for _, raw := range entities {
		e, err := subjects.ParseEntity(raw)
		if err != nil {
			return doubled, err
		}
		subject := m.q.TurnSubject(e)
		held, err := turns.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err == nil {
			err = turns.DeleteMsg(ctx, held.Sequence)
		}
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			return doubled, problem.New("delete a turn", err, "")
		}
		var refused *jetstream.APIError
		if _, err := m.js.Publish(ctx, subject, nil); err == nil {
			doubled++
		} else if !errors.As(err, &refused) { // refused: the lane has got a turn meanwhile
			return doubled, problem.New("publish a turn", err, "")
		}
	}
	return doubled, nil
}

// DropTurns deletes the turns of all entities that match; nil is all of them.
func (m *Meddler) DropTurns(ctx context.Context, match func(entity string) bool) (dropped int, err error) {
	turns, err := m.js.Stream(ctx, m.q.TurnsStream())
	if err != nil {
		return 0, problem.New("drop turns", err, "")
	}
	info, err := turns.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return 0, problem.New("drop turns", err, "")
	}
	for subject := range info.State.Subjects {
		lane, _ := subjects.LaneOf(subject)
		if e, err := subjects.ParseLane(lane); match != nil && (err != nil || !match(e.String())) {
			continue
		}
		turn, err := turns.GetLastMsgForSubject(ctx, subject)
		if err == nil {
			err = turns.DeleteMsg(ctx, turn.Sequence)
		}
		switch {
		case err == nil:
			dropped++
		case !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful):
			return dropped, problem.New("drop a turn", err, "")
		}
	}
	return dropped, nil
}

// PurgeTurns deletes all turns at once, as an operator does who takes the stream for a cache.
func (m *Meddler) PurgeTurns(ctx context.Context) error {
	turns, err := m.js.Stream(ctx, m.q.TurnsStream())
	if err == nil {
		err = turns.Purge(ctx)
	}
	return problem.New("purge the turns", err, "")
}

// BlindWatches takes away what shows the workers each other's heartbeats. They notice after some seconds, and watch
// again.
func (m *Meddler) BlindWatches(ctx context.Context) error {
	workers, err := m.js.Stream(ctx, subjects.WorkersStream)
	if err != nil {
		return problem.New("blind the watches", err, "")
	}
	names := workers.ConsumerNames(ctx)
	for name := range names.Name() {
		if err := workers.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return problem.New("blind a watch", err, "")
		}
	}
	return problem.New("blind the watches", names.Err(), "")
}

// Audited waits until the audit has looked at all jobs that the queue has.
func (m *Meddler) Audited(ctx context.Context) error {
	for {
		c, err := m.js.Consumer(ctx, m.q.JobsStream(), subjects.AuditConsumer)
		if err != nil {
			return problem.New("watch the audit", err, "")
		}
		info := c.CachedInfo()
		if info.NumPending == 0 && info.NumAckPending == 0 && info.Delivered.Stream > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
