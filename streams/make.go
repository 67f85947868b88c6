package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// maker makes the streams of one queue that are not there.
//
// A server moves the files of a removed stream aside and deletes them in its own time. When a stream of that name is
// removed again meanwhile, the files stay where they were, and the next stream of that name takes them for its own:
// old jobs would run again, and new turns would lie below what the consumer remembers to have delivered. So a stream is
// made closed, with a subject that nobody publishes on, and gets its own subjects when it is seen to be empty. Until
// then nobody has anything in it, so it may be removed and made again.
//
// Only the maker whose id a closed stream has may open it: when two open it in one moment, the server subscribes twice
// and stores each job twice. The others wait, and after closedBound take it that the maker is gone.
type maker struct {
	js  jetstream.JetStream
	op  string
	q   subjects.Queue
	id  string
	now time.Time // the server's, from its last answer
}

func newMaker(js jetstream.JetStream, op string, q subjects.Queue) *maker {
	return &maker{js: js, op: op, q: q, id: rand.Text()}
}

// make makes what of a part is missing, and returns in what the rest differs.
func (m *maker) make(ctx context.Context, p part) ([]Diff, error) {
	info, err := m.stream(ctx, p)
	if err != nil {
		return nil, m.explain(err)
	}
	if m.now = info.TimeStamp; m.now.IsZero() {
		m.now = info.Created
	}
	if p.shared && info.Config.Replicas < p.cfg.Replicas {
		// Not drift: this queue is the first one that needs so many.
		if info, err = updateStream(ctx, m.js, p.applied(info.Config)); err != nil {
			return nil, m.explain(err)
		}
	}
	diffs := p.diffStream(&info.Config)
	for _, want := range p.consumers {
		c, err := getConsumer(ctx, m.js, p.cfg.Name, want.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			c, err = makeConsumer(ctx, m.js, p.cfg.Name, want)
		}
		if err != nil {
			return nil, m.explain(err)
		}
		diffs = append(diffs, diffConsumer(p.cfg.Name, &want, &c.Config)...)
	}
	return diffs, nil
}

const (
	// The pauses while a server forgets the files of a removed stream. It gives up on them itself after a second.
	firstRemake = 20 * time.Millisecond
	mostRemake  = 500 * time.Millisecond
	remakeBound = 3 * time.Second

	// A maker opens a stream within openBound; whoever finds one closed after closedBound may remove it.
	openBound   = 4 * time.Second
	closedBound = 2 * openBound
	closedPoll  = 50 * time.Millisecond
)

// stream returns the part's stream, which is made when there is none.
func (m *maker) stream(ctx context.Context, p part) (*jetstream.StreamInfo, error) {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRemake), backoff.WithMaxInterval(mostRemake),
		backoff.WithMaxElapsedTime(remakeBound))
	for {
		asked := time.Now()
		info, err := streamInfo(ctx, m.js, p.cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			info, err = m.makeClosed(ctx, p.cfg)
		}
		if err != nil || !isClosed(&info.Config) {
			return info, err
		}
		wait := closedPoll
		switch others := info.Config.Metadata[metaMaker] != m.id; {
		case others && info.TimeStamp.Sub(info.Created) < closedBound:
		case others:
			if err := m.unmake(ctx, info); err != nil {
				return nil, err
			}
			pauses.Reset()
		case isFresh(info):
			return m.open(ctx, p.applied(info.Config), asked.Add(openBound))
		default:
			if err := m.unmake(ctx, info); err != nil {
				return nil, err
			}
			if wait = pauses.NextBackOff(); wait == backoff.Stop {
				return nil, problem.New(m.op, fmt.Errorf("%w: %s began with %d of them, after sequence %d",
					ErrLeftovers, p.cfg.Name, info.State.Msgs, info.State.LastSeq),
					"try again in a minute; if that does not help, restart the server, which then clears its folder")
			}
		}
		if err := Pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// open gives a stream its own subjects, before anybody may take its maker for gone.
func (m *maker) open(ctx context.Context, cfg jetstream.StreamConfig, until time.Time) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	delete(cfg.Metadata, metaMaker)
	return updateStream(ctx, m.js, cfg)
}

// metaMaker is the id of the maker of a closed stream, in its metadata.
const metaMaker = "seriatim.maker"

// makeClosed makes a stream that nobody publishes to. Somebody who is faster is no error.
func (m *maker) makeClosed(ctx context.Context, cfg jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	if cfg.Name == m.q.ClaimsStream() {
		cfg.FirstSeq = firstFence(m.now)
	}
	cfg.Subjects, cfg.RePublish, cfg.Metadata = []string{closedSubject(cfg.Name)}, nil, map[string]string{metaMaker: m.id}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := m.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return streamInfo(ctx, m.js, cfg.Name)
	}
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// unmake removes a closed stream, unless somebody else did so and made another one.
func (m *maker) unmake(ctx context.Context, seen *jetstream.StreamInfo) error {
	is, err := streamInfo(ctx, m.js, seen.Config.Name)
	if err == nil && isClosed(&is.Config) && is.Created.Equal(seen.Created) {
		err = deleteStream(ctx, m.js, seen.Config.Name)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

func closedSubject(stream string) string { return "_SERIATIM.closed." + stream }

// isClosed says that a stream is still being made, or that its making was interrupted.
func isClosed(cfg *jetstream.StreamConfig) bool {
	return len(cfg.Subjects) == 1 && cfg.Subjects[0] == closedSubject(cfg.Name)
}

// isFresh says that a stream holds nothing and never did.
func isFresh(info *jetstream.StreamInfo) bool {
	return info.State.Msgs == 0 && info.State.LastSeq+1 == max(info.Config.FirstSeq, 1)
}

// firstFence is where the fences of a queue begin: the server's clock in microseconds. A resource remembers the highest
// fence that it saw, for ever, so a queue that is made anew must start above all fences of its namesake. The namesake's
// streams are gone, perhaps with the whole store, so there is nothing to look it up in that could be relied on; and its
// fences grew from an earlier clock by one per claim, which is far below the million a second that would let them
// overtake the clock. Fences stay exact in programs that know only floating point (below 2^53) until the year 2255.
// A clock that was set back beyond the old queue's making breaks this, as it breaks TTLs.
func firstFence(now time.Time) uint64 {
	return uint64(max(now.UnixMicro(), 1))
}

func (m *maker) explain(err error) error {
	switch apiCode(err) {
	case codeReplicasNotSupported, codeNoPeers:
		return problem.New(m.op, err, "more than one replica takes a cluster with at least as many servers")
	case codeSubjectsOverlap:
		return problem.New(m.op, err, "another stream takes these subjects already: see `nats stream ls`")
	case codeTooManyStreams, codeInsufficientResources, codeAccountResources, codeStorageExceeded, codeMemoryExceeded:
		return problem.New(m.op, err, fmt.Sprintf("raise the account's limits for JetStream and do the same again: it makes what is missing; or take away what was made: coordinator queue rm %s", m.q))
	}
	if errors.Is(err, ErrLeftovers) {
		return err
	}
	return explain(m.op, m.q, err)
}

// Error codes that only making a stream gives.
const (
	codeReplicasNotSupported jetstream.ErrorCode = 10074
	codeNoPeers              jetstream.ErrorCode = 10005
	codeSubjectsOverlap      jetstream.ErrorCode = 10065
	codeTooManyStreams       jetstream.ErrorCode = 10027
)

func streamInfo(ctx context.Context, js jetstream.JetStream, name string) (*jetstream.StreamInfo, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

func updateStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := js.UpdateStream(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

func getConsumer(ctx context.Context, js jetstream.JetStream, stream, name string) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := js.Consumer(ctx, stream, name)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

func makeConsumer(ctx context.Context, js jetstream.JetStream, stream string, cfg jetstream.ConsumerConfig) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := js.CreateOrUpdateConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}
