package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/drain"
	"github.com/seriatim/seriatim/workerd/config"
)

// reading is a configuration that was read anew and put into effect, or why it could not be.
type reading struct {
	cfg     *config.Config
	changed []string // names of pools
	err     error
}

var errNoReload = errors.New("this process cannot read its configuration anew")

// reload reads the configuration and puts it into effect, beside the main loop, which gets the outcome through reread.
// One that cannot be used changes nothing.
func (d *daemon) reload() {
	if d.reloading {
		d.again = true
		return
	}
	d.reloading = true
	d.notify(d.manager.Reloading())
	var ctx context.Context
	ctx, d.stopReload = context.WithCancel(d.ctx)
	old := d.cfg
	go func() { // ends soon after stopReload, and reread takes one
		if d.opts.Reload == nil {
			d.reread <- reading{err: errNoReload}
			return
		}
		r := reading{}
		if r.cfg, r.err = d.opts.Reload(); r.err == nil {
			r.changed, r.err = d.apply(ctx, old, r.cfg)
		}
		d.reread <- r
	}()
}

// reloaded ends a reload, on the main loop.
func (d *daemon) reloaded(r reading) {
	d.reloading = false
	d.stopReload()
	if r.err != nil {
		d.log.Error().Err(r.err).Msg("the configuration stays as it is: the new one cannot be used")
	} else {
		if keys := needRestart(d.cfg, r.cfg); len(keys) > 0 {
			d.log.Warn().Strs("keys", keys).Msg("these settings were changed; they take effect when workerd is started anew")
		}
		for _, warning := range r.cfg.Warnings {
			d.log.Warn().Msg(warning)
		}
		d.log.Info().Strs("pools", r.changed).Msg("the configuration was read anew")
		d.cfg = r.cfg
	}
	if d.mode == drain.Running || d.mode == drain.Quiet {
		d.notify(d.manager.Ready(d.serving())) // without it a reload is not over for the manager
	}
	if d.again {
		d.again = false
		d.reload()
	}
}

// needRestart lists what was changed and cannot be changed in a running process.
func needRestart(was, is *config.Config) (keys []string) {
	for key, same := range map[string]bool{
		"id": was.ID == is.ID, "nats": was.NATS == is.NATS, "queues": reflect.DeepEqual(was.Queues, is.Queues),
		"http": was.HTTP == is.HTTP, "run_dir": was.RunDir == is.RunDir, "log": was.Log == is.Log,
		"livez_max_outage": was.LivezMaxOutage == is.LivezMaxOutage,
	} {
		if !same {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// apply makes pools and alerts what cfg says. What needs a new pool gets one first, and the old one goes when that is up;
// other changes of a pool replace its children one by one (lifecycle.Reconfigure). An error says why nothing was changed.
func (d *daemon) apply(ctx context.Context, old, cfg *config.Config) (changed []string, err error) {
	before := *d.members.Load()
	plan, err := d.plan(ctx, before, cfg)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(old.Alerts, cfg.Alerts) {
		next, err := d.newAlarm(cfg.Alerts)
		if err != nil {
			plan.undo()
			return nil, err
		}
		go d.alarm.Swap(next).stop() // bounded
		if n, _ := d.health.connection(); !n.Connected {
			d.natsLost("it was lost before the configuration was read anew") // the former places were told, not these
		}
	}
	list := make([]lifecycle.Member, len(plan.next))
	for i, m := range plan.next {
		list[i] = lifecycle.Member{Kinds: m.cfg.Kinds, Pool: m.pool}
	}
	if err := d.pools.Swap(list...); err != nil {
		plan.undo()
		return nil, err
	}
	d.members.Store(&plan.next)
	d.telemetry.lookSoon()
	for _, m := range before {
		if !slices.ContainsFunc(plan.next, func(n member) bool { return n.pool == m.pool }) {
			d.retire(m)
		}
	}
	return plan.changed, nil
}

// plan is what the pools become.
type plan struct {
	next    []member
	fresh   []member // of next, those that were made for it
	changed []string
}

// undo ends what was made in vain; nothing has run there.
func (p *plan) undo() {
	for _, m := range p.fresh {
		m.pool.Stop(killNow())
	}
}

// plan makes the pools that are needed anew and waits until they are up, and then has the others change their children.
func (d *daemon) plan(ctx context.Context, before []member, cfg *config.Config) (*plan, error) {
	p := &plan{}
	var inPlace []int
	for _, c := range cfg.Pools {
		at := slices.IndexFunc(before, func(m member) bool { return m.cfg.Name == c.Name })
		same := at >= 0 && before[at].killAfter == cfg.Shutdown.KillAfter
		switch {
		case same && reflect.DeepEqual(before[at].cfg, c):
			p.next = append(p.next, before[at])
			continue
		case same && replaceable(before[at].cfg, c):
			inPlace = append(inPlace, len(p.next))
			p.next = append(p.next, member{c, before[at].killAfter, before[at].pool})
		default:
			m, err := d.bringUp(ctx, c, cfg.Shutdown.KillAfter)
			if err != nil {
				p.undo()
				return nil, err
			}
			p.next, p.fresh = append(p.next, m), append(p.fresh, m)
		}
		p.changed = append(p.changed, c.Name)
	}
	for _, i := range inPlace {
		m := p.next[i]
		if err := lifecycle.Reconfigure(m.pool, d.poolConfig(m.cfg, m.killAfter)); err != nil {
			p.undo()
			return nil, err
		}
	}
	return p, nil
}

// replaceable says whether a pool can become the other one child by child. It has to agree with lifecycle.Reconfigure.
func replaceable(was, is config.Pool) bool {
	if was.Mode != config.ModePool {
		return false
	}
	for _, p := range []*config.Pool{&was, &is} {
		p.Command, p.Env, p.Concurrency, p.Kinds, p.Restart.MaxJobs, p.Restart.MaxAge = nil, nil, 0, nil, 0, 0
	}
	return reflect.DeepEqual(was, is)
}

// upBound is how long a new pool may take until its children are up.
const upBound = 90 * time.Second

// errNotUp is a pool whose children do not come up.
var errNotUp = errors.New("its children do not come up")

// bringUp makes a pool, starts it, and waits until all its children are ready.
func (d *daemon) bringUp(ctx context.Context, c config.Pool, killAfter time.Duration) (member, error) {
	m, err := d.newPool(c, killAfter)
	if err == nil {
		err = m.pool.Start(ctx)
	}
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithTimeout(ctx, upBound)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for m.pool.Slots() == 0 || slices.ContainsFunc(m.pool.Children(), notReady) {
		select {
		case <-look.C:
		case <-ctx.Done():
			m.pool.Stop(killNow())
			return m, fmt.Errorf("pool %s: %w: %s", c.Name, errNotUp, strings.Join(states(m.pool), ", "))
		}
	}
	return m, nil
}

func notReady(c lifecycle.ChildInfo) bool {
	return c.State != lifecycle.ChildReady && c.State != lifecycle.ChildBusy
}

func states(p lifecycle.Pool) (list []string) {
	for _, c := range p.Children() {
		list = append(list, string(c.State))
	}
	return list
}

// retire ends a pool that is no longer listed, when its jobs are over; when the daemon ends, at once.
func (d *daemon) retire(m member) {
	d.later.Go(func() {
		m.pool.Stop(d.drained)
		d.log.Info().Str("pool", m.cfg.Name).Msg("the former pool is gone")
	})
}

// killNow is a context that has a pool killed at once.
func killNow() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(lifecycle.ErrKillNow)
	return ctx
}
