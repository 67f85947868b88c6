package schedule

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// news is what a reader has read: the server's clock, and the schedules that changed, or all of them.
type news struct {
	server serverTime
	list   []Schedule
	whole  bool
}

// reader looks again and again for schedules that have changed. It is apart from the table, so that nothing fires late
// because an answer is.
type reader struct {
	js  jetstream.JetStream
	q   subjects.Queue
	log zerolog.Logger
	out chan<- news

	server serverTime
	seen   uint64        // the newest record
	all    time.Duration // when all were read, by clock.Boot; 0 is never
}

// run ends with ctx.
func (r *reader) run(ctx context.Context) {
	for failed := 0; ctx.Err() == nil; {
		n, err := r.read(ctx)
		if err == nil {
			select {
			case r.out <- n:
			case <-ctx.Done():
			}
			failed = 0
			_ = streams.Pause(ctx, readEvery)
			continue
		}
		if failed++; failed == 3 && ctx.Err() == nil {
			r.log.Warn().Err(err).Msg("schedules cannot be read; what is known goes on")
		}
		_ = streams.Pause(ctx, pause(failed))
	}
}

func (r *reader) read(ctx context.Context) (n news, err error) {
	if !r.server.known() || r.server.age() > clockAge {
		bound, cancel := context.WithTimeout(ctx, stepBound)
		server, err := askTime(bound, r.js, r.q.ScheduleStream())
		cancel()
		if err != nil {
			return n, err
		}
		r.server = server
	}
	n = news{server: r.server, whole: r.all == 0 || clock.Boot()-r.all > readAll}
	from, seen := r.seen+1, r.seen
	if n.whole {
		from, seen = 0, 0 // the stream may have been made anew
	}
	err = read(ctx, r.js.Conn(), r.q, namedSubject(r.q, ">"), from, func(m streams.Message) bool {
		seen = max(seen, m.Seq)
		if s, err := readSchedule(m); err != nil {
			r.log.Warn().Err(err).Msg("a schedule cannot be used")
		} else {
			n.list = append(n.list, s)
		}
		return true
	})
	if err != nil {
		return n, err
	}
	if r.seen = seen; n.whole {
		r.all = clock.Boot()
	}
	return n, nil
}
