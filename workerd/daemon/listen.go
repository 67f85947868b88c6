package daemon

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle/drain"
	"github.com/seriatim/seriatim/workerd/config"
	"github.com/seriatim/seriatim/workerd/control"
	"github.com/seriatim/seriatim/workerd/probes"
)

// A port that is busy is tried so long, and so often: a predecessor may be about to leave it. The default port is not
// insisted on, since nobody asked for it: the second workerd on a host goes on without, and takes it when it is free.
const (
	portPatience = 10 * time.Second
	portEvery    = time.Second
	defaultEvery = 10 * time.Second
)

// listen opens the control socket and the address of the probes. An address that was asked for and cannot be had is an
// error.
func (d *daemon) listen(ctx context.Context) error {
	door, err := control.Open(control.Folders(d.cfg.RunDir), d.health.pid, d.id)
	switch {
	case err == nil:
		d.door = door
		d.server.Serve(door.Listener())
		d.log.Debug().Str("socket", door.Entry().Socket).Msg("control socket")
	case d.cfg.RunDir != "":
		return fmt.Errorf("%w: %w", ErrConfig, err)
	default:
		d.log.Warn().Err(err).Str("hint", problem.Hint(err)).Msg("no control socket: workerd quiet, stop and status do not find this process")
	}
	if d.cfg.HTTP == "" {
		return nil
	}
	patience := probes.Patience{For: portPatience, Every: portEvery, OnBusy: func(err error, next time.Duration) {
		d.log.Warn().Err(err).Dur("next", next).Msg("the address for probes is busy; it is tried again")
	}}
	insist := d.cfg.Origin("http").Kind != config.FromDefault
	if !insist {
		patience = probes.Patience{}
	}
	l, err := probes.Listen(ctx, d.cfg.HTTP, patience)
	if err != nil && insist {
		return err
	}
	if err != nil {
		d.log.Warn().Err(err).Msg("the usual address for probes cannot be had; this workerd goes on without it, until it is free")
		addr := d.cfg.HTTP // the configuration may change meanwhile
		d.later.Go(func() { d.listenLater(addr) })
		return nil
	}
	d.server.Serve(l)
	d.log.Info().Stringer("address", l.Addr()).Msg("probes are answered")
	return nil
}

// listenLater takes the usual address when it is free. It returns when the daemon ends.
func (d *daemon) listenLater(addr string) {
	l, err := probes.Listen(d.ctx, addr, probes.Patience{For: math.MaxInt64 / 4, Every: defaultEvery})
	if err != nil {
		return // the daemon ends, or the address is none of this host's
	}
	d.server.Serve(l)
	d.log.Info().Stringer("address", l.Addr()).Msg("probes are answered")
}

// serving says what it serves, for the service manager.
func (d *daemon) serving() string {
	if d.mode == drain.Quiet {
		return "quiet: takes no jobs"
	}
	return fmt.Sprintf("running: serves %s with %d slots", strings.Join(d.health.queues, ", "), d.pools.Slots())
}
