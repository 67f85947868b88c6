package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Hold is a lane in the hands of a command, for as long as something else runs in its turn. Its methods may be called
// from any goroutine, Release once.
type Hold struct {
	s    *Session
	h    *hold
	cfg  lane.Config
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	until  time.Duration // of the claim; 0 is no end of its own
	lost   bool
	unsure time.Duration // the first sending of the claim that nobody answered
}

// HoldOptions are a hold's.
type HoldOptions struct {
	// By is who holds, for people.
	By string
	// OnWait is told, when that changes, for whom it waits.
	OnWait func(why string)
}

const (
	// While it waits for the running job the lane is looked at this often.
	holdPoll     = 20 * time.Millisecond
	holdPollMost = 200 * time.Millisecond
	// pauseLeases is how long, in leases, a pause of a hold that waits lasts when the command dies.
	pauseLeases = 2
)

// HoldLane waits until no job of the lane runs and takes it. While it is held nothing is started in it, also when it is
// empty. A holder of many jobs goes from one to the next without looking up, so a lane that is busy is paused for the
// moment of taking it: its job ends, the next one is not started, and the pause ends. The pause is bounded, and ends by
// itself should the command be killed. A pause of somebody else stays as it is. The wait is bounded by ctx alone; when it
// ends early nothing is left behind.
func HoldLane(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity, o HoldOptions) (*Hold, error) {
	s, err := Open(ctx, js, q, "lane-hold")
	if err != nil {
		return nil, err
	}
	w := waiting{s: s, e: e, o: o}
	h, err := w.take(ctx)
	after := context.WithoutCancel(ctx)
	if err = errors.Join(err, w.resume(after)); err != nil {
		if h != nil {
			err = errors.Join(err, s.release(after, h, h.head == 0))
		}
		return nil, errors.Join(err, s.Close(after))
	}
	l := &Hold{s: s, h: h, cfg: lane.DefaultConfig(s.loaded.Policy.Lease), done: make(chan struct{})}
	if !h.keeps() {
		l.until = h.taken + l.cfg.ClaimTTL - l.cfg.ClaimMargin()
	}
	life, stop := context.WithCancel(after)
	l.stop = stop
	go l.keep(life, h.taken)
	return l, nil
}

// waiting is a hold that has not got its lane yet.
type waiting struct {
	s      *Session
	e      subjects.Entity
	o      HoldOptions
	paused bool // by us
	pause  streams.PauseRecord
	at     time.Time
	told   string
}

func (w *waiting) take(ctx context.Context) (*hold, error) {
	var busy error
	for poll := holdPoll; ; poll = min(2*poll, holdPollMost) {
		h, _, err := w.s.take(ctx, w.e, true)
		switch {
		case err == nil:
			return h, nil
		case errors.Is(err, ErrBusy):
			busy = err
		case ctx.Err() != nil && busy != nil:
			return nil, busy // that is why it was not had in time
		default:
			return nil, err
		}
		if why := err.Error(); why != w.told && w.o.OnWait != nil {
			w.told = why
			w.o.OnWait(why)
		}
		// Carried through also when ctx ends now: what is not known to be paused could not be resumed.
		if err := w.keepPaused(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
		if streams.Pause(ctx, poll) != nil {
			return nil, err
		}
	}
}

// keepPaused sees to it that the next job is not started, by a pause of one's own if there is no other.
func (w *waiting) keepPaused(ctx context.Context) error {
	js, q, lease := w.s.js, w.s.queue, w.s.loaded.Policy.Lease
	o := streams.PauseOptions{By: w.o.By, Reason: "lane hold waits for the job that runs", For: pauseLeases * lease}
	var err error
	switch {
	case w.paused && time.Since(w.at) < lease/2:
		return nil
	case w.paused:
		w.pause, err = streams.ExtendPause(ctx, js, q, w.e, w.pause, o)
		if streams.IsWrongLast(err) { // ended, or replaced, by somebody: that is their word
			w.paused, err = false, nil
		}
	default:
		w.pause, w.paused, err = streams.PauseLane(ctx, js, q, w.e, o)
		if errors.Is(err, streams.ErrPauseTTL) { // a queue of an older version
			o.For = 0
			w.pause, w.paused, err = streams.PauseLane(ctx, js, q, w.e, o)
		}
	}
	w.at = time.Now()
	return err
}

func (w *waiting) resume(ctx context.Context) error {
	if !w.paused {
		return nil
	}
	return streams.EndPause(ctx, w.s.js, w.s.queue, w.e, w.pause)
}

// Fence is the number of this grant of the lane.
func (l *Hold) Fence() uint64 { return l.h.fence }

// Until is the time on the boot clock up to which the lane is certain to be held; it moves on while all is well. Past it
// whatever runs in the lane's turn must be gone.
func (l *Hold) Until() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.s.believed()
	if l.until != 0 {
		until = min(until, l.until)
	}
	if l.lost {
		return 0
	}
	return until
}

// Release gives the lane back, and it goes on. What ran in its turn must be gone. It may be called late: a lane that
// somebody else has by then is left to them.
func (l *Hold) Release(ctx context.Context) error {
	l.stop()
	<-l.done
	err := l.s.release(ctx, l.h, l.h.head == 0)
	if err == nil && l.h.before.State != lane.Halted {
		// The turn is on its way round among workers that found the lane busy: a fresh one is taken at once.
		if err = l.s.dropTurn(ctx, l.h.e); err == nil {
			err = streams.GiveTurn(ctx, l.s.js, l.s.queue, l.h.e)
		}
	}
	return errors.Join(err, l.s.Close(ctx))
}

// keepRetry is when the claim is written again that was not confirmed.
const keepRetry = time.Second

// keep rewrites the claim before it expires.
func (l *Hold) keep(ctx context.Context, taken time.Duration) {
	defer close(l.done)
	wait := taken + l.cfg.LongAfter - clock.Boot()
	for {
		if streams.Pause(ctx, wait) != nil {
			return
		}
		if wait = l.cfg.LongEvery; l.rewrite(ctx) != nil {
			wait = keepRetry
		}
		if l.Until() == 0 {
			return
		}
	}
}

func (l *Hold) rewrite(ctx context.Context) error {
	bound, cancel := context.WithTimeout(ctx, l.cfg.AnswerWait)
	defer cancel()
	ttl := l.cfg.LongTTL
	if l.h.keeps() {
		ttl = 0
	}
	r := l.h.held
	r.Fence = l.h.fence
	sent := clock.Boot()
	seq, err := l.s.put(bound, l.s.queue.ClaimSubject(l.h.e), r.Encode(), l.h.seq, ttl)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unsure != 0 {
		sent = l.unsure
	}
	if streams.IsWrongLast(err) {
		// Perhaps it is an earlier sending of our own that stands.
		var stands lane.Record
		if stands, _, err = l.s.record(bound, l.h.e); err == nil {
			if stands.Session != l.s.id || stands.State != lane.Held || l.unsure == 0 {
				l.lost = true
				return fmt.Errorf("%s: %w", l.h.e, ErrSessionOver)
			}
			seq = stands.Seq
		}
	}
	if err != nil {
		l.unsure = sent
		return err
	}
	l.unsure, l.h.seq = 0, seq
	if l.until != 0 {
		l.until = sent + ttl - l.cfg.ClaimMargin()
	}
	return nil
}
