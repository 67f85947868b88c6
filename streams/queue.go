package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	schema, policy, err := schemaOf(op, q, &info.Config)
	if err != nil {
		return Loaded{}, err
	}
	return Loaded{Policy: policy, Created: info.Created, Replicas: info.Config.Replicas, Schema: schema}, nil
}

// onlyLacks says that all that differs is that streams are missing which the version that made the queue did not know.
func (p Policy) onlyLacks(q subjects.Queue, diffs []Diff) bool {
	for _, d := range diffs {
		lacks := func(a part) bool { return a.added && d.Setting == a.cfg.Name && d.Is == missing }
		if !slices.ContainsFunc(p.parts(q), lacks) {
			return false
		}
	}
	return true
}

// complete makes the streams that a queue of an earlier version lacks.
func complete(ctx context.Context, m *maker, parts []part) error {
	for _, p := range parts {
		if p.added {
			if _, err := m.make(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// CreateQueue makes a queue and says whether it was not there before. A queue that is there is compared with p in
// every setting that matters: the same is success, anything else is a *DriftError, and nothing is changed. What an
// interrupted creation left is completed, and so is what the version that made the queue did not know yet.
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
	switch {
	case err == nil:
		if p.MaxJobSize == 0 {
			p.MaxJobSize = is.Policy.MaxJobSize // what the server allowed then
		}
		diffs := p.diff(is.Policy)
		settings, err := inspectParts(ctx, js, p.parts(q))
		if err != nil {
			return false, explain(op, q, err)
		}
		if diffs = append(diffs, settings...); len(diffs) > 0 && p.onlyLacks(q, diffs) {
			return false, complete(ctx, newMaker(js, op, q), p.parts(q))
		}
		return false, drifted(op, q, diffs)
	case !errors.Is(err, ErrUnknownQueue):
		return false, err
	}
	if p, err = p.sized(op, js.Conn()); err != nil {
		return false, err
	}

	maker := newMaker(js, op, q)
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
