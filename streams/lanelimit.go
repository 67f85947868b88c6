package streams

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams/limits"
	"github.com/seriatim/seriatim/subjects"
)

// LimitInfo is a limit that a lane's head is under.
type LimitInfo struct {
	// Name is queue, kind:… or type:…
	Name string `json:"name"`
	// Limit is how many jobs may run at once, Taken how many the living workers have room for, Workers how many of them
	// have some. Waiting are workers that could run more.
	Limit   int `json:"limit"`
	Taken   int `json:"taken"`
	Workers int `json:"workers"`
	Waiting int `json:"waiting"`
}

// readLimits reads how the limits of the head stand. It goes after readHolder, which knows who is alive.
func (f *facts) readLimits(ctx context.Context, js jetstream.JetStream, e subjects.Entity) error {
	if f.Head == nil || f.Head.Invalid != "" || len(f.policy.Limits) == 0 {
		return nil
	}
	for _, name := range limits.Names(e.Type, f.Head.Kind) {
		most := f.policy.Limits[name]
		if most == 0 {
			continue
		}
		m, err := LastMessage(ctx, js, lanesStream(f.q), pauseSubject(f.q, limits.Key(name)))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		d, err := limits.Decode(m.Data)
		if err != nil {
			continue // it cannot be told
		}
		is := limits.Count(d, most, func(session string) bool { return f.over[session] })
		f.Limits = append(f.Limits, LimitInfo{name, is.Limit, is.Taken, is.Workers, is.Waiting})
		if f.limit == "" && is.Full() {
			f.limit = fmt.Sprintf("job %d (%s) waits for the limit %s=%d: %d worker(s) have all of it, and the next job starts when one of theirs has ended", f.Head.Seq, f.Head.Kind, name, most, is.Workers)
		}
	}
	return nil
}
