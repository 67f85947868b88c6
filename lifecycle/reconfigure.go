package lifecycle

import (
	"errors"
	"reflect"
	"slices"
)

// recipe is what a child of a ModePool is started by: the part of a pool's configuration that can change while it runs.
type recipe struct {
	path        string
	command     []string
	env         []string
	concurrency int
	recycle     Recycle
}

func (c *Config) recipe(path string, who identity) *recipe {
	return &recipe{
		path: path, command: c.Command, env: append(c.baseEnv(who), fdsVariable+"=3,4"),
		concurrency: c.Concurrency, recycle: c.Recycle,
	}
}

// ErrReconfigured is why a child was replaced by one of the new configuration.
var ErrReconfigured = errors.New("its pool's configuration was changed")

// ErrNeedsNewPool is a change of configuration that a running pool cannot make.
var ErrNeedsNewPool = errors.New("such a change needs a new pool")

// Reconfigure changes the command, the environment, the concurrency, and when children are recycled, of a ModePool that
// runs: its children are replaced one by one, each new one ready before the old one goes, so that no slot is lost. It
// returns at once. A child that does not come up is tried again, and the old ones work on meanwhile.
//
// Every other change is ErrNeedsNewPool, and so is any change of a ModeExec. The functions in cfg are not used: the
// pool keeps its own. Any goroutine, not before Start.
func Reconfigure(pool Pool, cfg Config) error {
	p, ok := pool.(*childPool)
	if !ok {
		return ErrNeedsNewPool
	}
	if err := cfg.check(); err != nil {
		return err
	}
	cfg.fill()
	if !sameFrame(p.cfg, cfg) {
		return ErrNeedsNewPool
	}
	path, err := cfg.program()
	if err != nil {
		return err
	}
	who, err := cfg.identity()
	if err != nil {
		return err
	}
	next := cfg.recipe(path, who)
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.how.Load(); p.stopping || last == nil || reflect.DeepEqual(last, next) {
		return nil
	}
	p.how.Store(next)
	for _, c := range p.places {
		if c != nil && c.state == ChildReady {
			p.outdated(c) // one that is not ready yet is looked at when it is
		}
	}
	return nil
}

// sameFrame says whether two configurations differ in nothing but the recipe.
func sameFrame(a, b Config) bool {
	for _, c := range []*Config{&a, &b} {
		c.Command, c.Env, c.Concurrency, c.Recycle = nil, nil, 0, Recycle{}
		c.Log, c.OnEvent, c.OnProgress = nil, nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// outdated has a child replaced that was started by an older recipe; mu is held.
func (p *childPool) outdated(c *child) {
	now := p.how.Load()
	if c.how == now || c.how.path == now.path && slices.Equal(c.how.command, now.command) &&
		slices.Equal(c.how.env, now.env) && c.how.concurrency == now.concurrency {
		return
	}
	select {
	case c.wornOut <- ErrReconfigured:
	default: // it is about to be replaced anyway
	}
}
