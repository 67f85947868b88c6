package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/workerd/config"
)

// Guard is the top process: it runs the engine below itself, with the same arguments, until that ends, and returns the
// exit status. usage is the status of wrong usage.
func Guard(cfg *config.Config, args []string, usage int) int {
	log := newLog(cfg.Log).With().Str("part", "guardian").Logger()
	return guardian.Run(guardian.Options{
		Args: args, UsageStatus: usage, OnEvent: func(e guardian.Event) { logGuardian(log, e) },
	})
}

// levels are of the guardian's events; what is not listed is a warning.
var levels = map[guardian.EventKind]zerolog.Level{
	guardian.EventStarted: zerolog.DebugLevel, guardian.EventStopping: zerolog.InfoLevel,
	guardian.EventEnded: zerolog.ErrorLevel, guardian.EventFenced: zerolog.ErrorLevel, guardian.EventGroup: zerolog.ErrorLevel,
	guardian.EventLeft: zerolog.ErrorLevel, guardian.EventGivenUp: zerolog.ErrorLevel, guardian.EventShell: zerolog.ErrorLevel,
}

func logGuardian(log zerolog.Logger, e guardian.Event) {
	level, ok := levels[e.Kind]
	if !ok {
		level = zerolog.WarnLevel
	}
	ev := log.WithLevel(level)
	if e.Err != nil {
		ev = ev.Err(e.Err)
		if hint := problem.Hint(e.Err); hint != "" {
			ev = ev.Str("hint", hint)
		}
	}
	if e.PID != 0 {
		ev = ev.Int("process", e.PID)
	}
	if e.N != 0 {
		ev = ev.Int("count", e.N)
	}
	if e.Late != 0 {
		ev = ev.Dur("late", e.Late)
	}
	if e.Kind == guardian.EventRestarting {
		ev = ev.Dur("next", e.Wait)
	}
	ev.Msg(string(e.Kind))
}

// Alone says, once, what is missing where there can be no guardian.
func Alone(cfg *config.Config) {
	log := newLog(cfg.Log)
	log.Warn().Str("version", version.String()).
		Msg("this system has no guardian for workerd: process groups are contained, and nothing else that a job starts; use Linux for work that matters")
}

// errUnguarded is the end of an engine without its guardian.
var errUnguarded = errors.New("the guardian process is gone")

// unguardedBound is how long handing back may take then.
const unguardedBound = 2 * time.Second

// unguarded ends everything at once: nobody would end what this process leaves. Only what runs no more is handed back.
func (d *daemon) unguarded() error {
	ctx, cancel := context.WithTimeout(context.Background(), unguardedBound)
	defer cancel()
	finished := make(chan error, 1)
	go func() { finished <- d.engine.Stop(ctx, closed()) }()
	return d.killAll(finished)
}

// killAll kills what runs, while the engine stops, and waits a bounded time for the engine. Its goroutine outlives it only
// when something cannot be killed; the process exits then.
func (d *daemon) killAll(finished <-chan error) error {
	d.log.Error().Msg("the guardian process is gone: all jobs are killed and handed back")
	ctx, cancel := context.WithTimeout(context.Background(), unguardedBound+time.Second)
	defer cancel()
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		now, kill := context.WithCancelCause(context.Background())
		kill(lifecycle.ErrKillNow)
		d.pools.Stop(now)
		d.orphan.Kill(ctx)
	}()
	for range 2 {
		select {
		case <-killed:
			killed = nil
		case err := <-finished:
			if err != nil {
				d.log.Warn().Err(err).Msg("not everything could be handed back in time; the lease hands it over")
			}
			finished = nil
		case <-ctx.Done():
			return errUnguarded
		}
	}
	return errUnguarded
}

// note is where the engine tells what it holds.
func (d *daemon) note() func(engine.Held) {
	if d.link == nil {
		return nil
	}
	former := d.gone()
	return func(h engine.Held) {
		held := guardian.Held{Session: h.Session, Lanes: make([]guardian.HeldLane, 0, len(h.Lanes)), Former: former}
		for _, l := range h.Lanes {
			held.Lanes = append(held.Lanes, guardian.HeldLane(l))
		}
		d.link.Note(held)
	}
}

// mostFormer bounds how many former sessions are remembered. A guardian gives up after fewer deaths in a minute.
const mostFormer = 16

// gone are the sessions of former engines under this guardian, the eldest first. They may still look alive: the last one
// because it crashed, those before it because their successor crashed before it had said their farewell.
func (d *daemon) gone() []string {
	h, _, ok := d.link.Predecessor()
	if !ok {
		return nil
	}
	all := append(slices.Clone(h.Former), h.Session)
	return all[max(0, len(all)-mostFormer):]
}

// predecessor is what a former engine under this guardian held.
func (d *daemon) predecessor() *engine.Predecessor {
	h, reason, ok := d.link.Predecessor()
	if !ok {
		return nil
	}
	p := &engine.Predecessor{Held: engine.Held{Session: h.Session}, Crashed: reason == guardian.Crashed}
	for _, l := range h.Lanes {
		p.Lanes = append(p.Lanes, engine.HeldLane(l))
	}
	return p
}
