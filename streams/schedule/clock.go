package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
)

// serverTime is a time that the server's clock has passed for certain, reckoned from its last answer: it lags behind
// by at most what that answer took. It does not depend on the host's own clock being right. The zero value knows
// nothing. One goroutine may use it at a time; a copy is good for another.
type serverTime struct {
	told time.Time
	at   time.Duration // by clock.Boot
}

// ask reads the server's clock.
func askTime(ctx context.Context, js jetstream.JetStream, stream string) (serverTime, error) {
	ctx, cancel := context.WithTimeout(ctx, streams.RequestTimeout)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return serverTime{}, err
	}
	told := s.CachedInfo().TimeStamp
	if told.IsZero() {
		return serverTime{}, fmt.Errorf("the server does not tell its time")
	}
	return serverTime{told, clock.Boot()}, nil
}

func (s serverTime) known() bool { return !s.told.IsZero() }

func (s serverTime) now() time.Time { return s.told.Add(clock.Boot() - s.at) }

// age is how old the answer is.
func (s serverTime) age() time.Duration { return clock.Boot() - s.at }
