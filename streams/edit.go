package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// EditQueue changes a queue's policy and brings all its streams in line with it: also those settings that had
// drifted, and streams that are missing. It returns the policy that holds now and what was different before. Called
// with a change that changes nothing, it applies the stored policy again.
//
// Workers keep beating while this happens; each session's record says its own lease, so a new lease is safe. Storage
// cannot change (ErrPolicy). When a step fails the queue is left in between, which the next QueueInfo reports as
// drift, and the same edit completes it. Errors are those of CreateQueue, and ErrUnknownQueue.
func EditQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue, change func(*Policy)) (Policy, []Diff, error) {
	op := "edit queue " + string(q)
	is, err := LoadQueue(ctx, js, q)
	if err != nil {
		return Policy{}, nil, err
	}
	want := is.Policy
	change(&want)
	if err := want.Validate(); err != nil {
		return is.Policy, nil, err
	}
	if want.Storage != is.Policy.Storage {
		return is.Policy, nil, problem.New(op, fmt.Errorf("%w: storage is %s and cannot become %s", ErrPolicy, is.Policy.Storage, want.Storage),
			fmt.Sprintf("make a queue of another name with it, or let this one run empty and make it anew: coordinator queue rm %s", q))
	}
	if want.MaxJobSize != is.Policy.MaxJobSize {
		if want, err = want.sized(op, js.Conn()); err != nil {
			return is.Policy, nil, err
		}
	}
	diffs := want.diff(is.Policy)
	edit := newMaker(js, op, q)
	for _, p := range want.parts(q) {
		was, err := edit.apply(ctx, p)
		if err != nil {
			return is.Policy, diffs, err
		}
		diffs = append(diffs, was...)
	}
	return want, diffs, nil
}

// apply brings one part in line and returns what was different.
func (m *maker) apply(ctx context.Context, p part) ([]Diff, error) {
	info, err := streamInfo(ctx, m.js, p.cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && isClosed(&info.Config) {
		_, err := m.make(ctx, p)
		return []Diff{{p.cfg.Name, missing, "there"}}, err
	}
	if err != nil {
		return nil, m.explain(err)
	}
	diffs := p.diffStream(&info.Config)
	if len(diffs) > 0 || info.Config.Metadata[MetaPolicy] != p.cfg.Metadata[MetaPolicy] {
		if info, err = updateStream(ctx, m.js, p.applied(info.Config)); err != nil {
			return nil, m.explain(err)
		}
	}
	m.now = info.TimeStamp
	for _, want := range p.consumers {
		c, err := getConsumer(ctx, m.js, p.cfg.Name, want.Durable)
		var was []Diff
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
			was = []Diff{{p.cfg.Name + "." + want.Durable, missing, "there"}}
		case err != nil:
			return nil, m.explain(err)
		default:
			if was = diffConsumer(p.cfg.Name, &want, &c.Config); len(was) == 0 {
				continue
			}
		}
		if _, err := makeConsumer(ctx, m.js, p.cfg.Name, want); err != nil {
			return nil, m.explain(err)
		}
		diffs = append(diffs, was...)
	}
	return diffs, nil
}

// DeleteQueue removes all streams of a queue, with every job, dead job and schedule in them, and says whether there
// was anything. The queue stops taking jobs first. Workers that still serve it lose what they run: look at Info.Running
// before. What an interrupted deletion left is removed too. Errors are ErrNotOurs, ErrNewerSchema, or the trouble with
// the server.
func DeleteQueue(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (existed bool, err error) {
	op := "delete queue " + string(q)
	if _, err := subjects.ParseQueue(string(q)); err != nil {
		return false, err
	}
	if _, err := LoadQueue(ctx, js, q); err != nil && !errors.Is(err, ErrUnknownQueue) {
		return false, err
	}
	parts := DefaultPolicy().parts(q)
	for i := len(parts) - 1; i >= 0; i-- { // JOBS_, which was made last, goes first
		if parts[i].shared {
			continue
		}
		err := emptyStream(ctx, js, parts[i].cfg.Name)
		if err == nil {
			err = deleteStream(ctx, js, parts[i].cfg.Name)
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return existed, explain(op, q, err)
		}
		existed = true
	}
	return existed, nil
}

// emptyStream purges a stream that is about to be removed, so that its messages are gone even if its files stay. A
// stream that must not be purged, or not by this user, is removed all the same.
func emptyStream(ctx context.Context, js jetstream.JetStream, name string) error {
	m, err := ask(ctx, js.Conn(), "STREAM.PURGE."+name, nil)
	if errors.Is(err, ErrNoRight) {
		return nil
	}
	if err != nil {
		return err
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return err
	}
	if answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return jetstream.ErrStreamNotFound
	}
	return nil
}

func deleteStream(ctx context.Context, js jetstream.JetStream, name string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return js.DeleteStream(ctx, name)
}
