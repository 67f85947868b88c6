package lifecycle

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seriatim/seriatim/internal/problem"
)

// childPool keeps children alive and feeds them jobs.
//
// Each place in the pool has one supervisor (supervise.go), the goroutine that starts the child, watches it and starts
// the next; while a child is recycled there are two (recycle.go). Each child has a reader for its answers and a writer for its frames. mu guards who has which job: the fields
// below it, and those of child and call that say so. Nothing that can wait is done under mu.
type childPool struct {
	cfg       Config
	stopper   *stopper
	slots     slotWatch
	lastRun   atomic.Uint64
	launcher  *launcher              // from Start to the end of Stop
	lines     sync.WaitGroup         // the supervisors
	recycling chan struct{}          // a token for who starts a successor
	guard     *guard                 // from Start on; nil without memory limits
	how       atomic.Pointer[recipe] // from Start on

	mu       sync.Mutex
	started  bool
	stopping bool
	places   []*child            // nil while a place has no process
	extra    map[*child]struct{} // children that have no place: successors that are not ready, and those that they replaced
	waiting  []*call             // jobs without a slot, in order of arrival
}

func newChildPool(cfg Config) *childPool {
	return &childPool{
		cfg: cfg, stopper: newStopper(), places: make([]*child, cfg.Processes), extra: map[*child]struct{}{},
		recycling: make(chan struct{}, 1),
	}
}

// Start starts the children; Slots grows when they are ready.
func (p *childPool) Start(context.Context) error {
	path, err := p.cfg.program()
	if err != nil {
		return err
	}
	who, err := p.cfg.identity()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := startable(p.started, p.stopping); err != nil {
		return problem.New("start pool "+p.cfg.Name, err, "")
	}
	p.started, p.launcher = true, newLauncher(who)
	p.how.Store(p.cfg.recipe(path, who))
	p.guard = guardPool(&p.cfg, p, p.event)
	for i := range p.places {
		p.lines.Go(func() { p.keep(i, p.newBackoff()) })
	}
	go func() { // ends with the supervisors, which Stop waits for
		p.lines.Wait()
		p.guard.stop()
		p.launcher.stop()
		p.stopper.finished()
	}()
	return nil
}

// Stop tells the children to finish and ends them.
func (p *childPool) Stop(ctx context.Context) {
	p.mu.Lock()
	p.stopping = true
	for _, cl := range p.waiting {
		cl.done <- notStarted(ErrStopped.Error())
	}
	p.waiting = nil
	if !p.started {
		p.stopper.finished()
	}
	p.mu.Unlock()
	p.stopper.stop(ctx)
}

// Slots is the sum of what the ready children take.
func (p *childPool) Slots() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.places {
		if c != nil {
			n += c.capacity
		}
	}
	return n
}

func (p *childPool) OnSlots(f func(int)) { p.slots.set(f) }

// Children lists the pool's places, and the children that are about to take one or have lost theirs.
func (p *childPool) Children() []ChildInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]ChildInfo, 0, len(p.places)+len(p.extra))
	for _, c := range p.places {
		list = append(list, p.info(c))
	}
	for c := range p.extra {
		list = append(list, p.info(c))
	}
	slices.SortFunc(list[len(p.places):], func(a, b ChildInfo) int { return a.PID - b.PID })
	return list
}

// info describes a child, or an empty place; mu is held.
func (p *childPool) info(c *child) ChildInfo {
	info := ChildInfo{Pool: p.cfg.Name, State: ChildWaiting}
	if c == nil {
		return info
	}
	info.PID, info.State, info.Jobs = c.group.pid, c.state, len(c.calls)
	info.RSSBytes, info.TreeBytes = rssBytes(info.PID), p.guard.size(info.PID)
	if info.State == ChildReady && info.Jobs > 0 {
		info.State = ChildBusy
	}
	return info
}

// event tells what happened to a child.
func (p *childPool) event(e Event) {
	e.Pool = p.cfg.Name
	p.cfg.OnEvent(e)
}
