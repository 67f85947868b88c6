package daemon

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/lifecycle/drain"
)

// Why the engine is told to make haste.
var (
	errOverdue   = errors.New("the time to finish is over")
	errForced    = errors.New("asked to stop a second time")
	errAbandoned = errors.New("the time to hand back is over")
)

// signalEvents are the signals and what they mean.
var signalEvents = map[os.Signal]drain.Event{
	syscall.SIGTERM: drain.Terminate, syscall.SIGINT: drain.Terminate, syscall.SIGTSTP: drain.Suspend,
	syscall.SIGCONT: drain.Continue, syscall.SIGTTIN: drain.Dump, syscall.SIGHUP: drain.Reload,
}

// beatEvery is how often the main loop turns when nothing happens.
const beatEvery = 250 * time.Millisecond

// life is what the main loop owns: how far the daemon has come, and what it waits for. A channel that is nil waits for
// nothing.
type life struct {
	mode     drain.Mode
	abort    context.CancelFunc // of the start
	started  chan error
	finished chan error // of the engine's stop
	timer    <-chan time.Time
	reread   chan reading
	// endJobs and giveUp make the engine's stop hurry.
	endJobs, giveUp context.CancelCauseFunc
	begun           time.Time // of the stop
	wasIdle         bool
	reloading       bool
	again           bool // HUP came while reloading, or before it was up
	stopReload      context.CancelFunc
	err             error
}

// live is the main loop: it obeys signals, and what comes about, until the daemon has stopped or its guardian is lost.
func (d *daemon) live(signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d.abort, d.started, d.reread = cancel, make(chan error, 1), make(chan reading, 1)
	go func() { d.started <- d.start(ctx) }()

	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	var alive <-chan time.Time
	if every := d.manager.Watchdog(); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		alive = t.C
	}
	for d.mode != drain.Stopped {
		d.health.beats()
		select {
		case s := <-signals:
			d.log.Debug().Stringer("signal", s).Stringer("mode", d.mode).Msg("signal")
			d.happens(signalEvents[s])
		case err := <-d.started:
			if d.err = err; err != nil {
				d.happens(drain.Failed)
			} else {
				d.happens(drain.Started)
			}
		case err := <-d.finished:
			if err != nil {
				// Not a failure of the stop as such.
				d.log.Warn().Err(err).Msg("not everything could be handed back in time; the lease hands it over")
			}
			d.happens(drain.Drained)
		case <-d.timer:
			d.happens(drain.Timeout)
		case <-beat.C:
			d.look()
		case <-alive:
			if why := d.health.NotLive(); len(why) > 0 {
				d.log.Error().Strs("reasons", why).Msg("not live: the service manager is not told otherwise")
			} else {
				d.notify(d.manager.Alive())
			}
		case r := <-d.reread:
			d.reloaded(r)
		case <-d.link.Lost():
			return d.lost()
		}
	}
	return d.err
}

// look notices what nobody tells.
func (d *daemon) look() {
	idle := d.mode == drain.Quiet && d.health.idle()
	if idle && !d.wasIdle {
		d.happens(drain.Idle)
	}
	d.wasIdle = idle
	if d.mode.State() == "starting" && d.manager.Present() && time.Since(d.extended) >= startExtend/3 {
		d.extended = time.Now()
		d.notify(d.manager.Extend(startExtend, "starting: waits for NATS, if it must"))
	}
}

// startExtend is how much time the service manager is asked for at once while a server is waited for.
const startExtend = 30 * time.Second

// happens takes an event through the table.
func (d *daemon) happens(e drain.Event) {
	before := d.mode
	next, action := drain.Next(before, e)
	d.mode = next
	d.health.setMode(next)
	if e == drain.Failed && before == drain.Aborting {
		d.err = nil // the stop was asked for, and nothing had begun
	}
	d.do(action, e)
}

// do carries out an action. Nothing in here waits, but for the end of everything.
func (d *daemon) do(a drain.Action, e drain.Event) {
	switch a {
	case drain.Nothing:
	case drain.Abort:
		d.log.Info().Stringer("signal", e).Msg("stopped before the start was over")
		d.notify(d.manager.Stopping("stopped before the start was over"))
		d.abort()
	case drain.Announce, drain.AnnounceQuiet:
		d.announce(a == drain.AnnounceQuiet)
	case drain.Hold:
		d.log.Info().Msg("quiet: no further jobs; those that run go on")
		d.engine.Quiet(true)
		d.notify(d.manager.Status(d.serving()))
	case drain.Take:
		d.log.Info().Msg("running again")
		d.engine.Quiet(false)
		d.notify(d.manager.Status(d.serving()))
	case drain.TellIdle:
		d.log.Info().Msg("quiet, and nothing runs any more")
	case drain.ShowJobs:
		d.dump()
	case drain.Reread:
		d.reload()
	case drain.RereadLater:
		d.log.Info().Msg("the configuration is read anew when it is up")
		d.again = true
	case drain.HandBack:
		d.handBack(e)
	case drain.EndJobs:
		d.log.Warn().Int("jobs", len(d.engine.Running())).Msg("the time to finish is over: the jobs are ended, and handed back")
		d.timer = time.After(d.cfg.Shutdown.KillAfter + handBack)
		d.endJobs(errOverdue)
	case drain.KillJobs:
		d.log.Warn().Stringer("signal", e).Msg("asked a second time: the jobs are killed now")
		d.timer = time.After(handBack)
		d.endJobs(errForced)
		d.engine.Kill()
	case drain.GiveUp:
		d.giveUp(errAbandoned)
	case drain.Leave:
		if d.finished != nil {
			d.leave()
		}
	}
}

// announce tells everybody that it is up, and only then takes jobs.
func (d *daemon) announce(quiet bool) {
	d.health.started.Store(true)
	d.log.Info().Str("session", d.engine.Status().Session).Int("slots", d.pools.Slots()).Msg(d.mode.State())
	d.engine.Quiet(quiet)
	d.notify(d.manager.Ready(d.serving()))
	if d.again {
		d.again = false
		d.reload()
	}
}

// handBack begins the stop.
func (d *daemon) handBack(e drain.Event) {
	s := d.cfg.Shutdown
	d.begun, d.again = time.Now(), false
	if d.reloading {
		d.stopReload()
	}
	d.log.Info().Stringer("signal", e).Dur("timeout", s.Timeout).Msg("stopping: no further jobs; those that run may finish")
	d.notify(d.manager.Stopping("stopping: jobs may finish"))
	var bound, drained context.Context
	bound, d.giveUp = context.WithCancelCause(context.Background())
	drained, d.endJobs = context.WithCancelCause(context.Background())
	if s.Timeout > 0 {
		d.timer = time.After(s.Timeout)
	}
	d.finished = make(chan error, 1)
	go func() { d.finished <- d.engine.Stop(bound, drained) }()
}

// leave ends what is left when the engine has handed everything back.
func (d *daemon) leave() {
	d.giveUp(nil)
	d.endJobs(nil)
	d.health.engine.Store(nil)
	d.runs.close()
	if d.reloading {
		d.reloaded(<-d.reread)
	}
	d.drain()
	d.stopPools()
	d.stopSchedules()
	d.conn.Close()
	d.log.Info().Dur("took", time.Since(d.begun)).Msg("stopped")
}

// lost: the guardian is gone, and nobody would end what this process leaves.
func (d *daemon) lost() error {
	switch d.mode {
	case drain.Starting, drain.StartingQuiet, drain.Aborting:
		d.abort()
		if err := <-d.started; err != nil {
			return errUnguarded
		}
	default:
	}
	if d.finished != nil {
		return d.killAll(d.finished)
	}
	return d.unguarded()
}

// stopPools ends the idle children; what runs was ended by the engine.
func (d *daemon) stopPools() {
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Shutdown.KillAfter)
	defer cancel()
	d.pools.Stop(ctx)
}

// notify logs that the service manager could not be told.
func (d *daemon) notify(err error) {
	if err != nil {
		d.log.Warn().Err(err).Msg("the service manager was not told")
	}
}

// dump logs what runs now.
func (d *daemon) dump() {
	r := d.telemetry.report()
	d.log.Info().Str("state", r.State).Int("busy", r.Busy).Int("slots", r.Slots).Bool("connected", r.NATS.Connected).Msg("what runs")
	for _, j := range r.Jobs {
		d.log.Info().Str("queue", j.Queue).Str("entity", j.Entity).Str("kind", j.Kind).Uint64("seq", j.Seq).
			Uint64("fence", j.Fence).Int("attempt", j.Attempt).Dur("since", time.Since(j.Since)).Msg("runs")
	}
	for _, c := range r.Children {
		d.log.Info().Str("pool", c.Pool).Int("child", c.PID).Str("state", c.State).Int("jobs", c.Jobs).Int64("rss_bytes", c.RSSBytes).Msg("child")
	}
}
