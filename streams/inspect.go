package streams

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/subjects"
)

// inspectParts compares all streams and consumers of a queue with what they should be. What is not there is a
// difference like any other.
func inspectParts(ctx context.Context, js jetstream.JetStream, parts []part) ([]Diff, error) {
	var diffs []Diff
	for _, p := range parts {
		info, err := streamInfo(ctx, js, p.cfg.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			diffs = append(diffs, Diff{p.cfg.Name, missing, "there"})
			continue
		}
		if err != nil {
			return nil, err
		}
		diffs = append(diffs, p.diffStream(&info.Config)...)
		for _, want := range p.consumers {
			c, err := getConsumer(ctx, js, p.cfg.Name, want.Durable)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				diffs = append(diffs, Diff{p.cfg.Name + "." + want.Durable, missing, "there"})
				continue
			}
			if err != nil {
				return nil, err
			}
			diffs = append(diffs, diffConsumer(p.cfg.Name, &want, &c.Config)...)
		}
	}
	return diffs, nil
}

type Info struct{ Drift []Diff }

func QueueInfo(ctx context.Context, js jetstream.JetStream, q subjects.Queue) (Info, error) {
	l, err := LoadQueue(ctx, js, q)
	if err != nil {
		return Info{}, err
	}
	d, err := inspectParts(ctx, js, l.Policy.parts(q))
	return Info{d}, err
}
