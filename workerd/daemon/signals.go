package daemon

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// errForced is the cause of a stop that was asked for twice.
var errForced = errors.New("asked to stop a second time")

// serve obeys signals until one of them ends the daemon.
func (d *daemon) serve(signals <-chan os.Signal) error {
	for {
		var s os.Signal
		select {
		case s = <-signals:
		case <-d.link.Lost():
			return d.unguarded()
		}
		switch s {
		case syscall.SIGTERM, syscall.SIGINT:
			d.log.Info().Stringer("signal", s).Dur("timeout", d.cfg.Shutdown.Timeout).Msg("stopping: no further jobs; those that run may finish")
			return d.stop(signals)
		case syscall.SIGTSTP:
			d.log.Info().Msg("quiet: no further jobs; those that run go on")
			d.engine.Quiet(true)
		case syscall.SIGCONT:
			d.log.Info().Msg("running again")
			d.engine.Quiet(false)
		case syscall.SIGTTIN:
			d.dump()
		case syscall.SIGHUP:
			d.log.Warn().Msg("this version cannot reload its configuration; restart it to have changes take effect")
		}
	}
}

// stop hands everything back and ends all processes. A second TERM or INT ends the jobs at once.
func (d *daemon) stop(signals <-chan os.Signal) error {
	begun := time.Now()
	bound := context.Background()
	drain, now := context.WithCancelCause(context.Background())
	defer now(nil)
	if t := d.cfg.Shutdown.Timeout; t > 0 {
		var cancel context.CancelFunc
		drain, cancel = context.WithTimeout(drain, t)
		defer cancel()
		bound, cancel = context.WithTimeout(bound, t+d.cfg.Shutdown.KillAfter+handBack)
		defer cancel()
	}
	finished := make(chan error, 1)
	go func() { finished <- d.engine.Stop(bound, drain) }()
	var err error
wait:
	for {
		select {
		case err = <-finished:
			break wait
		case s := <-signals:
			if s == syscall.SIGTERM || s == syscall.SIGINT {
				d.log.Warn().Stringer("signal", s).Msg("asked a second time: the jobs are ended now")
				now(errForced)
			}
		case <-d.link.Lost():
			return d.killAll(finished)
		}
	}
	d.runs.close()
	d.stopPools()
	d.conn.Close()
	if err != nil {
		// Not a failure of the stop as such: the lease hands over what is left.
		d.log.Warn().Err(err).Msg("not everything could be handed back in time; the lease hands it over")
	}
	d.log.Info().Dur("took", time.Since(begun)).Msg("stopped")
	return nil
}

// stopPools ends the idle children; what runs was ended by the engine.
func (d *daemon) stopPools() {
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.Shutdown.KillAfter)
	defer cancel()
	d.pools.Stop(ctx)
}

// dump logs what runs now.
func (d *daemon) dump() {
	for _, j := range d.engine.Running() {
		d.log.Info().Str("queue", string(j.Queue)).Str("entity", j.Entity.String()).Str("kind", j.Header.Kind).
			Uint64("seq", j.Seq).Uint64("fence", j.Fence).Int("attempt", j.Attempt).Dur("since", j.Since).Msg("runs")
	}
	for _, c := range d.pools.Children() {
		d.log.Info().Str("pool", c.Pool).Int("child", c.PID).Str("state", string(c.State)).Int("jobs", c.Jobs).Int64("rss_bytes", c.RSSBytes).Msg("child")
	}
}
