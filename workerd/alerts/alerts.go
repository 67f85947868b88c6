// Package alerts tells places outside of NATS about trouble: a command or a webhook learns of a lost server, of children
// that crash again and again, of a child killed for its memory, and of dead jobs.
//
// # Invariants
//
// Raise never waits: an alert goes into a bounded queue, and when that is full it is dropped and counted. Each place has
// a goroutine of its own, so a place that hangs holds up no other. Alerts about the same thing are held back for a while
// after one was sent; the next one says how many. That NATS is back is told only to who was told that it was lost.
//
// # On failure
//
// A place that does not take an alert is tried again twice; then the alert is dropped, counted, and told to OnFailure.
// Stop sends what is queued within its bound, and drops the rest.
package alerts

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Alert is one piece of bad, or good, news.
type Alert struct {
	// Event is what kind of news it is, such as nats_lost.
	Event string `json:"event"`
	// Level is "error", "warning" or "info".
	Level string    `json:"level"`
	Time  time.Time `json:"time"`
	// Text is a sentence for people.
	Text string `json:"text"`
	// Worker, Host and PID say whose news it is.
	Worker  string `json:"worker"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// HeldBack is how many alerts about the same thing were held back since the last one.
	HeldBack int `json:"held_back,omitempty"`
	// Detail has what belongs to the event: queue, entity, kind, pool, error.
	Detail map[string]string `json:"detail,omitempty"`

	// About is the thing that rates are counted for, besides the event: a queue and kind, or a pool.
	About string `json:"-"`
	// Follows names the event without which this one is no news.
	Follows string `json:"-"`
}

// Place takes alerts.
type Place struct {
	// Name is the place's, for messages; never its address, which may be a secret.
	Name string
	// Wants says which events it takes; nil is all.
	Wants func(event string) bool
	// Every is how long alerts about the same thing are held back after one was sent.
	Every time.Duration
	// Send takes one alert. It is called from one goroutine and must heed its context.
	Send func(context.Context, Alert) error
}

// Outcome is what became of an alert, for counters.
type Outcome string

// The outcomes.
const (
	Sent     Outcome = "sent"
	Failed   Outcome = "failed"
	HeldBack Outcome = "held_back"
	Dropped  Outcome = "dropped"
)

// Options are those of a Hub; zero values mean what stands with each.
type Options struct {
	Places []Place
	// From is copied into each alert: Worker, Host, PID, Version.
	From Alert
	// OnOutcome is told what became of each alert at each place.
	OnOutcome func(Outcome)
	// OnFailure is told of alerts that a place did not take.
	OnFailure func(place string, a Alert, err error)
	// Queue is how many alerts may wait for one place; 64.
	Queue int
	// SendBound is how long one try may take; 10 s.
	SendBound time.Duration
	// Retry is the wait before the second try, which grows for the third; 1 s.
	Retry time.Duration
}

// Hub passes alerts on to places. Raise and Stop may be called from any goroutine.
type Hub struct {
	opts   Options
	places []*place
	cancel context.CancelFunc
	wait   sync.WaitGroup
	stop   sync.Once
}

// New makes a hub and starts a goroutine for each place; Stop ends them.
func New(o Options) *Hub {
	if o.OnOutcome == nil {
		o.OnOutcome = func(Outcome) {}
	}
	if o.OnFailure == nil {
		o.OnFailure = func(string, Alert, error) {}
	}
	if o.Queue == 0 {
		o.Queue = 64
	}
	if o.SendBound == 0 {
		o.SendBound = 10 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = time.Second
	}
	h := &Hub{opts: o}
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	for _, p := range o.Places {
		pl := &place{Place: p, limit: newLimit(p.Every), queue: make(chan Alert, o.Queue)}
		h.places = append(h.places, pl)
		h.wait.Go(func() { h.serve(ctx, pl) })
	}
	return h
}

// place is a Place with its queue. The limit is guarded by mu.
type place struct {
	Place
	mu      sync.Mutex
	limit   *limit
	stopped bool
	queue   chan Alert
}

// Raise tells all places that want to know. It never waits.
func (h *Hub) Raise(a Alert) {
	if a.Time.IsZero() {
		a.Time = time.Now().UTC()
	}
	a.Worker, a.Host, a.PID, a.Version = h.opts.From.Worker, h.opts.From.Host, h.opts.From.PID, h.opts.From.Version
	for _, p := range h.places {
		if p.Wants == nil || p.Wants(a.Event) {
			h.give(p, a)
		}
	}
}

func (h *Hub) give(p *place, a Alert) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		h.opts.OnOutcome(Dropped)
		return
	}
	pass, held := p.limit.take(a)
	if !pass {
		if a.Follows == "" {
			h.opts.OnOutcome(HeldBack)
		} // else nobody was told of what is over: it is no news
		return
	}
	a.HeldBack = held
	select {
	case p.queue <- a:
	default:
		h.opts.OnOutcome(Dropped)
	}
}

// serve sends a place's alerts until its queue is closed, or until ctx ends.
func (h *Hub) serve(ctx context.Context, p *place) {
	for a := range p.queue {
		if err := h.send(ctx, p, a); err != nil {
			h.opts.OnOutcome(Failed)
			h.opts.OnFailure(p.Name, a, err)
			continue
		}
		h.opts.OnOutcome(Sent)
	}
}

// tries is how often an alert is sent at most.
const tries = 3

func (h *Hub) send(ctx context.Context, p *place, a Alert) error {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(h.opts.Retry), backoff.WithMultiplier(4))
	err := backoff.Retry(func() error {
		try, cancel := context.WithTimeout(ctx, h.opts.SendBound)
		defer cancel()
		err := p.Send(try, a)
		if errors.Is(err, ErrRefused) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(backoff.WithMaxRetries(wait, tries-1), ctx))
	if err != nil {
		return fmt.Errorf("alert %s to %s: %w", a.Event, p.Name, err)
	}
	return nil
}

// ErrRefused is a place's final no: sending again would change nothing.
var ErrRefused = errors.New("the alert was refused")

// Stop takes no more alerts, and returns when those that are queued are sent or ctx ends.
func (h *Hub) Stop(ctx context.Context) {
	h.stop.Do(func() {
		for _, p := range h.places {
			p.mu.Lock()
			p.stopped = true
			close(p.queue)
			p.mu.Unlock()
		}
	})
	stopped := context.AfterFunc(ctx, h.cancel)
	h.wait.Wait()
	stopped()
	h.cancel()
}
