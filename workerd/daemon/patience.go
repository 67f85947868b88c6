package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams"
)

// silentServer is how long nobody has to answer for JetStream until that is believed: a server that starts takes
// connections before it has read its streams.
const silentServer = 3 * time.Second

// patiently does something at the start that takes a server with a leader, again and again as long as waiting may cure
// what is wrong. A start that gave up during an election would take the whole worker with it.
func (d *daemon) patiently(ctx context.Context, do func() error) error {
	attempts := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	begin := time.Now()
	for {
		err := do()
		silent := errors.Is(err, nats.ErrNoResponders) && time.Since(begin) < silentServer
		if err == nil || ctx.Err() != nil || !silent && !streams.IsTemporary(err) {
			return err
		}
		next := attempts.NextBackOff()
		d.log.Warn().Err(err).Dur("next", next).Msg("the NATS server does not answer as it should; trying again")
		if ended := streams.Pause(ctx, next); ended != nil {
			return err
		}
	}
}
