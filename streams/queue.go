package streams

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// Loaded is what a worker needs to know of a queue before it takes a turn.
type Loaded struct {
	Policy Policy
	// Created is when JOBS_ was made: a queue that was made anew under its old name differs in it.
	Created time.Time
	// Replicas is what the stream has, which says how its head must be read.
	Replicas int
	Schema   int
}

// LoadQueue reads a queue's policy. Errors are ErrUnknownQueue, ErrNotOurs, ErrNewerSchema, or the trouble with the
// server. One request.
func LoadQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (Loaded, error) {
	op := "read queue " + string(q)
	info, err := streamInfo(ctx, js, q.JobsStream())
	if err != nil {
		return Loaded{}, explain(op, q, err)
	}
	schema, policy, err := schemaOf(op, q, info.Config.Metadata)
	if err != nil {
		return Loaded{}, err
	}
	return Loaded{Policy: policy, Created: info.Created, Replicas: info.Config.Replicas, Schema: schema}, nil
}

// CreateQueue makes a queue and says whether it was not there before. A queue that is there is compared with p in
// every setting that matters: the same is success, anything else is a *DriftError, and nothing is changed. What an
// interrupted creation left is completed.
//
// Other errors are ErrPolicy, ErrNotOurs, ErrNewerSchema, or the trouble with the server.
func CreateQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue, p Policy) (created bool, err error) {
	op := "create queue " + string(q)
	if _, err := subjects.ParseQueue(string(q)); err != nil {
		return false, err
	}
	if err := p.Validate(); err != nil {
		return false, err
	}
	is, err := LoadQueue(ctx, js, q)
	if p.MaxJobSize == 0 {
		if p.MaxJobSize = is.Policy.MaxJobSize; err != nil {
			p.MaxJobSize = largestJob(js.Conn())
		}
	}
	switch {
	case err == nil:
		diffs := p.diff(is.Policy)
		settings, err := inspectParts(ctx, js, p.parts(q))
		if err != nil {
			return false, explain(op, q, err)
		}
		return false, drifted(op, q, append(diffs, settings...))
	case !errors.Is(err, ErrUnknownQueue):
		return false, err
	}

	maker := maker{js: js, op: op, q: q}
	for _, part := range p.parts(q) {
		diffs, err := maker.make(ctx, part)
		if err != nil {
			return false, err
		}
		if len(diffs) > 0 {
			return false, problem.New(op, &DriftError{q, diffs},
				fmt.Sprintf("streams of that name are left over from something else; if they may go: coordinator queue rm %s", q))
		}
	}
	return true, nil
}

// maker makes the streams of one queue that are not there.
type maker struct {
	js  jetstream.JetStream
	op  string
	q   subjects.Queue
	now time.Time // the server's, from its last answer
}

// make makes what of a part is missing, and returns in what the rest differs.
func (m *maker) make(ctx context.Context, p part) ([]Diff, error) {
	info, err := streamInfo(ctx, m.js, p.cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		info, err = m.makeStream(ctx, p.cfg)
	}
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

func (m *maker) makeStream(ctx context.Context, cfg jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	if cfg.Name == m.q.ClaimsStream() {
		cfg.FirstSeq = firstFence(m.now)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	s, err := m.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return streamInfo(ctx, m.js, cfg.Name) // somebody was faster; the caller compares
	}
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
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
	}
	return explain(m.op, m.q, err)
}

// Error codes that only making a stream gives.
const (
	codeReplicasNotSupported jetstream.ErrorCode = 10074
	codeNoPeers              jetstream.ErrorCode = 10005
	codeSubjectsOverlap      jetstream.ErrorCode = 10065
)

// ListQueues are the names of all queues, sorted; queues of a newer schema too. Streams of such a name that are no
// queues are left out.
func ListQueues(ctx context.Context, js jetstream.JetStream) ([]subjects.Queue, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var queues []subjects.Queue
	lister := js.ListStreams(ctx, jetstream.WithStreamListSubject(subjects.PrefixJobs+".>"))
	for info := range lister.Info() {
		name, ok := strings.CutPrefix(info.Config.Name, "JOBS_")
		q, err := subjects.ParseQueue(name)
		if _, ours := info.Config.Metadata[MetaSchema]; ok && ours && err == nil {
			queues = append(queues, q)
		}
	}
	if err := lister.Err(); err != nil {
		return nil, explain("list queues", "", err)
	}
	sort.Slice(queues, func(i, j int) bool { return queues[i] < queues[j] })
	return queues, nil
}

func notOurs(op, stream, why string) error {
	return problem.New(op, fmt.Errorf("stream %s is %w of Seriatim: %s", stream, ErrNotOurs, why),
		fmt.Sprintf("choose another name, or look at what it is with: nats stream info %s", stream))
}

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
