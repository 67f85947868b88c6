package schedule

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Options are a Keeper's.
type Options struct {
	Conn   *nats.Conn
	Queues []subjects.Queue
	// Worker is the id under which it fires.
	Worker string
	Log    zerolog.Logger
}

// Keeper is what every worker does for the times of its queues: it fires named schedules, and moves delayed jobs that
// are due to their lanes. It needs no session: whatever it does may be done by any number of others at the same time.
type Keeper struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// Start starts a Keeper; Stop ends it. A server or a queue that is away is waited for.
func Start(o Options) (*Keeper, error) {
	js, err := streams.JetStream(o.Conn, jetstream.WithPublishAsyncTimeout(stepBound), jetstream.WithDefaultTimeout(streams.RequestTimeout))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{stop: cancel}
	for _, q := range o.Queues {
		log := o.Log.With().Str("queue", string(q)).Logger()
		d := &drainer{nc: o.Conn, js: js, q: q, log: log}
		t := &table{js: js, q: q, worker: o.Worker, log: log, entries: map[string]*entry{}, fired: make(chan result), news: make(chan news)}
		r := &reader{js: js, q: q, log: log, out: t.news}
		k.done.Go(func() { d.run(ctx) })
		k.done.Go(func() { r.run(ctx) })
		k.done.Go(func() { t.run(ctx) })
	}
	return k, nil
}

// Stop ends it, and waits until it has settled what it had in hand, which takes moments; when the server is away, no
// longer than ctx lasts. What it has not settled by then ends by itself soon. Calling it again waits too. Any goroutine
// may call it.
func (k *Keeper) Stop(ctx context.Context) {
	k.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.done.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

const (
	// readEvery is how soon a new or changed schedule is seen, readAll how soon one is forgotten that was removed. Whoever
	// fires looks at the record itself.
	readEvery = time.Second
	readAll   = time.Minute
	// stepBound bounds one request of the reader, and one firing: while a leader is being elected a request may be heard
	// by nobody, and must not be waited for long.
	stepBound = 3 * time.Second
	// mostFiring bounds the schedules that are fired at the same time.
	mostFiring = 32
	// Whoever did not fire the last time leaves this time to the one who did, for a moment.
	reserve, reserveSpread = 80 * time.Millisecond, 80 * time.Millisecond
	// The pauses after a failure.
	leastRetry, mostRetry = 500 * time.Millisecond, 10 * time.Second
)

// entry is a schedule as it was seen last. Times are by clock.Boot.
type entry struct {
	s     Schedule
	times Times
	// wake is when to do something; never when it is below 0.
	wake   time.Duration
	busy   bool
	failed int
}

// table is the schedules of one queue. Its goroutine owns all of it.
type table struct {
	js     jetstream.JetStream
	q      subjects.Queue
	worker string
	log    zerolog.Logger

	server  serverTime
	entries map[string]*entry
	firing  int
	fired   chan result
	news    chan news
}

// run ends with ctx, when nothing is being fired any more.
func (t *table) run(ctx context.Context) {
	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-wake.C:
		case n := <-t.news:
			t.learn(n)
		case r := <-t.fired:
			t.take(r)
		}
		if ctx.Err() == nil {
			wake.Reset(t.work(ctx))
		}
	}
	for ; t.firing > 0; t.firing-- {
		<-t.fired
	}
}

// learn takes what was read.
func (t *table) learn(n news) {
	if n.server.at != t.server.at {
		t.server = n.server
		for _, e := range t.entries {
			t.plan(e) // by the new clock
		}
	}
	there := map[string]bool{}
	for _, s := range n.list {
		there[s.Name] = true
		t.know(s, n.whole)
	}
	for name, e := range t.entries {
		if n.whole && !there[name] && !e.busy {
			delete(t.entries, name)
		}
	}
}

// know takes a record that was read, unless a newer one is known; anyway when all are read anew.
func (t *table) know(s Schedule, anyway bool) {
	e := t.entries[s.Name]
	if e != nil && e.s.Seq >= s.Seq && (e.busy || !anyway) {
		return
	}
	times, err := s.Spec.Times()
	if err != nil {
		t.log.Warn().Err(err).Str("schedule", s.Name).Msg("a schedule cannot be used")
		return
	}
	if e == nil {
		e = &entry{}
		t.entries[s.Name] = e
	}
	e.s, e.times, e.failed = s, times, 0
	t.plan(e)
}

// plan sets when to look at a schedule again.
func (t *table) plan(e *entry) {
	m := decide(e.s.Record, e.times, t.worker, t.server.now())
	switch {
	case e.failed > 0:
		return // take has set it
	case m.do == rest && m.wake.IsZero():
		e.wake = -1
		return
	case m.do == rest:
		e.wake = t.local(m.wake)
	default:
		e.wake = clock.Boot()
	}
	if e.s.By != t.worker {
		e.wake += reserve + rand.N(reserveSpread)
	}
}

// local is a time of the server by clock.Boot.
func (t *table) local(at time.Time) time.Duration { return t.server.at + at.Sub(t.server.told) }

// work fires what is due, and says how long there is nothing to do.
func (t *table) work(ctx context.Context) time.Duration {
	now, next := clock.Boot(), clock.Boot()+time.Hour
	for _, e := range t.entries {
		switch {
		case e.busy || e.wake < 0 || !t.server.known():
		case e.wake > now:
			next = min(next, e.wake)
		case t.firing < mostFiring: // else the end of one of those wakes this up
			e.busy = true
			t.firing++
			f := firing{js: t.js, q: t.q, worker: t.worker, server: t.server, s: e.s, times: e.times, own: e.s.By == t.worker}
			go func() {
				// A step that was begun is not left to others because this worker stops.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepBound)
				defer cancel()
				t.fired <- f.run(ctx)
			}()
		}
	}
	return next - now
}

// take notes what came of a firing.
func (t *table) take(r result) {
	t.firing--
	e := t.entries[r.name]
	if e == nil {
		return
	}
	e.busy = false
	switch {
	case r.err != nil:
		if e.failed++; e.failed == 3 {
			t.log.Warn().Err(r.err).Str("schedule", r.name).Msg("a schedule cannot be fired just now")
		}
		e.wake = clock.Boot() + pause(e.failed)
		if r.s.Seq > e.s.Seq {
			e.s = r.s
		}
		return
	case r.gone:
		delete(t.entries, r.name)
		return
	}
	if run := r.run; run != nil {
		t.log.Debug().Str("schedule", r.name).Time("time", run.At).Str("outcome", run.Outcome).Str("id", run.ID).Msg("fired")
	}
	e.failed = 0
	t.know(r.s, false)
	t.plan(e)
}

// pause is that after so many failures in a row.
func pause(failed int) time.Duration {
	d := min(leastRetry<<min(failed, 10), mostRetry)
	return d/2 + rand.N(d/2)
}
