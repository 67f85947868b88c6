package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// sweeper publishes a turn for every lane of a queue now and then, for lanes whose turn got lost after the audit had
// looked: the refusal, because the lane has one, is the check. One worker does it at a time: whoever writes the lock.
type sweeper struct {
	e     *Engine
	q     subjects.Queue
	want  chan string // why; a sweep that was asked for twice runs once
	gone  map[string]litter
	short int    // samples in a row with fewer turns than lanes
	below uint64 // the turn that stood below the consumer's floor, the last time
	stand int    // lanes that had no turn on purpose when the last sweep looked
}

// litter is a record that was seen without its job.
type litter struct {
	seq uint64
	at  time.Time
}

const (
	sweepWindow = 512              // turns on their way at once: paced, so that publishers do not feel it
	sweepLock   = 30 * time.Second // at most one sweep of a queue in this time
	litterAge   = time.Minute      // a finished claim must be seen for at least 50 s
	shortLimit  = 2
)

func (e *Engine) startSweep(ctx context.Context, q subjects.Queue) {
	s := &sweeper{e: e, q: q, want: make(chan string, 1), gone: map[string]litter{}}
	e.sweeps = append(e.sweeps, s)
	e.tasks.Add(1)
	go func() {
		defer e.tasks.Done()
		s.run(ctx)
	}()
}

// wantSweep asks for a sweep of all queues.
func (e *Engine) wantSweep(why string) {
	for _, s := range e.sweeps {
		s.ask(why)
	}
}

func (s *sweeper) ask(why string) {
	select {
	case s.want <- why:
	default:
	}
}

func (s *sweeper) run(ctx context.Context) {
	every := s.e.opts.SweepEvery
	regular := time.NewTimer(every/2 + rand.N(every))
	defer regular.Stop()
	sample := time.NewTicker(max(s.e.lease/3, time.Second))
	defer sample.Stop()
	for {
		var why string
		select {
		case <-ctx.Done():
			return
		case why = <-s.want:
		case <-regular.C:
			regular.Reset(every/2 + rand.N(every))
			why = "regular"
		case <-sample.C:
			s.e.reload(ctx, s.q)
			if why = s.sample(ctx); why == "" {
				continue
			}
		}
		if err := s.sweep(ctx, why); err != nil && ctx.Err() == nil {
			s.e.opts.Log.Warn().Err(err).Str("queue", string(s.q)).Str("why", why).Msg("the sweep was cut short; it is tried again")
			if streams.Pause(ctx, time.Second) == nil {
				s.ask(why)
			}
		}
	}
}

// sample compares lanes that have jobs with turns. Fewer turns than lanes, more than for a moment, means that some got
// lost. It also raises the alarm that must never be.
func (s *sweeper) sample(ctx context.Context) (why string) {
	// The consumer first: turns that end between the two looks are then gone from the stream.
	consumer, err := s.e.js.Consumer(ctx, s.q.TurnsStream(), subjects.TurnsConsumer)
	if err != nil {
		return ""
	}
	jobs, err := s.e.js.Stream(ctx, s.q.JobsStream())
	if err != nil {
		return ""
	}
	turns, err := s.e.js.Stream(ctx, s.q.TurnsStream())
	if err != nil {
		return ""
	}
	s.lookBelow(consumer.CachedInfo().AckFloor.Stream, turns.CachedInfo().State)
	lanes, held := jobs.CachedInfo().State.NumSubjects, turns.CachedInfo().State
	if held.Msgs+uint64(s.stand) >= lanes {
		s.short = 0
	} else {
		s.short++
	}
	if s.short < shortLimit {
		return ""
	}
	s.short = 0
	return "fewer turns than lanes"
}

// lookBelow raises the alarm when the first turn stands below the consumer's floor, and did so the last time: replicated,
// a turn that was ended stays visible for moments.
func (s *sweeper) lookBelow(floor uint64, turns jetstream.StreamState) {
	before := s.below
	s.below = 0
	if turns.Msgs == 0 || turns.FirstSeq > floor {
		return
	}
	s.below = turns.FirstSeq
	if s.below == before {
		s.e.opts.Log.Error().Str("queue", string(s.q)).Uint64("first_seq", turns.FirstSeq).Uint64("ack_floor", floor).
			Msg("turns are stranded below the consumer's floor and will not be delivered; has somebody purged or rolled up the stream of turns?")
	}
}

// sweep walks the lanes, if no other worker did a moment ago.
func (s *sweeper) sweep(ctx context.Context, why string) error {
	mine, err := s.lock(ctx)
	if err != nil || !mine {
		return err
	}
	start := time.Now()
	standing, err := s.records(ctx)
	if err != nil {
		return err
	}
	paused, err := streams.ListPaused(ctx, s.e.js, s.q)
	if err != nil {
		return err
	}
	for _, p := range paused {
		if e, err := subjects.ParseEntity(p.Entity); err == nil {
			standing[string(s.q)+"."+e.Token()] = true
		}
	}
	lanes, passed, err := s.walk(ctx, standing)
	if err != nil {
		return err
	}
	s.stand = passed
	s.e.opts.Log.Info().Str("queue", string(s.q)).Str("why", why).Int("lanes", lanes).Dur("took", time.Since(start)).Msg("swept")
	return nil
}

// lock is taken by writing it where it expired.
func (s *sweeper) lock(ctx context.Context) (bool, error) {
	key := sessionSubject("sweep." + string(s.q))
	m := nats.NewMsg(s.e.kv + key)
	m.Header.Set(headerExpect, "0")
	last, err := s.e.js.Stream(ctx, "KV_"+subjects.WorkersBucket)
	if err != nil {
		return false, err
	}
	old, err := last.GetLastMsgForSubject(ctx, key)
	if err == nil {
		if old.Header.Get("Nats-Marker-Reason") == "" {
			return false, nil
		}
		m.Header.Set(headerExpect, strconv.FormatUint(old.Sequence, 10)) // it expired: its marker stands
	} else if !errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, err
	}
	m.Header.Set(headerTTL, strconv.Itoa(int(sweepLock/time.Second))+"s")
	m.Data = []byte(s.e.opts.Worker)
	_, err = s.e.js.PublishMsg(ctx, m)
	if streams.IsWrongLast(err) {
		return false, nil
	}
	return err == nil, err
}

// walk publishes a turn for each lane that has jobs, and passes by those that stand.
func (s *sweeper) walk(ctx context.Context, standing map[string]bool) (lanes, passed int, err error) {
	window := make(chan struct{}, sweepWindow)
	err = streams.Scan(ctx, s.e.js, s.q.JobsStream(), streams.ScanOptions{LastPerSubject: true}, func(m streams.Message) bool {
		name := strings.TrimPrefix(m.Subject, subjects.PrefixJobs+".")
		if standing[name] {
			passed++
			return true
		}
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return false
		}
		lanes++
		s.e.visit(name, lane.Visit{Publish: true}, func() { <-window })
		return true
	})
	for range sweepWindow { // until the last is answered
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return lanes, passed, ctx.Err()
		}
	}
	return lanes, passed, err
}

// records walks the claims: it finds the lanes that stand without a turn on purpose, and removes records whose job was
// already gone at an earlier sweep, at least a minute ago.
func (s *sweeper) records(ctx context.Context) (standing map[string]bool, err error) {
	standing = map[string]bool{}
	found := map[string]litter{}
	var old []lane.Record
	var names []string
	err = streams.Scan(ctx, s.e.js, s.q.ClaimsStream(), streams.ScanOptions{LastPerSubject: true, Bodies: true}, func(m streams.Message) bool {
		r, err := lane.DecodeRecord(m.Seq, m.Data)
		if err != nil {
			return true
		}
		name := strings.TrimPrefix(m.Subject, subjects.PrefixClaims+".")
		if r.State == lane.Halted {
			standing[name] = true
		}
		if len(m.Header[headerTTL]) == 0 {
			old, names = append(old, r), append(names, name)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	jobs, err := s.e.js.Stream(ctx, s.q.JobsStream())
	if err != nil {
		return nil, err
	}
	claims, err := s.e.js.Stream(ctx, s.q.ClaimsStream())
	if err != nil {
		return nil, err
	}
	for i, r := range old {
		_, err := jobs.GetMsg(ctx, r.Job)
		if err == nil || !errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		name := names[i]
		before, known := s.gone[name]
		switch {
		case !known || before.seq != r.Seq:
			found[name] = litter{seq: r.Seq, at: time.Now()}
		case time.Since(before.at) < litterAge || r.State == lane.Running && r.Stolen && !s.over(r.Session):
			// A stolen claim is released by its holder, or by its session's death, never by its job's absence.
			found[name] = before
		default:
			if err := claims.DeleteMsg(ctx, r.Seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				found[name] = before
			}
		}
	}
	s.gone = found
	return standing, nil
}

// over asks the loop whether a session is known to be over.
func (s *sweeper) over(session string) bool {
	answer := make(chan bool, 1)
	s.e.in.put(item{do: func() { answer <- s.e.holder.Dead(session) }})
	select {
	case dead := <-answer:
		return dead
	case <-s.e.ended:
		return false
	}
}
