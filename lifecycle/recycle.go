package lifecycle

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Recycle replaces the children of a ModePool that have worked long enough, without losing a slot: the next one is
// started first, and the old one works on until that one is ready; then it finishes its jobs and goes. The zero value
// replaces none.
type Recycle struct {
	// MaxJobs is after how many jobs; 0 is never. A few more may be done until the next child is ready.
	MaxJobs int
	// MaxAge is how long after it was ready; 0 is never.
	MaxAge time.Duration
	// Jitter varies both by up to this share (0 to 1), differently for each child.
	Jitter float64
}

// ErrRecycled is why a child was replaced after so many jobs or so long.
var ErrRecycled = errors.New("its time was over")

// vary is a share from 1-Jitter to 1+Jitter.
func (r Recycle) vary() float64 { return 1 + r.Jitter*(2*rand.Float64()-1) }

// jobs is after how many jobs a child is replaced, 0 for never.
func (r Recycle) jobs() uint64 {
	if r.MaxJobs <= 0 {
		return 0
	}
	return max(1, uint64(r.vary()*float64(r.MaxJobs)))
}

// age is after how long a child is replaced, 0 for never.
func (r Recycle) age() time.Duration {
	if r.MaxAge <= 0 {
		return 0
	}
	age := r.vary() * float64(r.MaxAge)
	if age >= math.MaxInt64 {
		return math.MaxInt64
	}
	return max(1, time.Duration(age))
}

// A place and its children. One goroutine keeps a place (keep); a child that is to be recycled keeps its place until the
// next one is ready, whose goroutine (succeed) then keeps it. Each way that this can go is a fate of the one whose life
// has ended.
type fate int

const (
	vacant   fate = iota // it had the place, which is empty now
	replaced             // the next one has the place, or will have it
	unused               // it was to be the next one, and ended before it was ready
)

// lineage is a child's part in this; guarded by the pool's mu.
type lineage struct {
	place int
	// before is the child whose place this one is to take, nil once it has one.
	before *child
	// succeeded is set while somebody prepares the next one; heir is that one once it was started; left says that this one
	// has ended meanwhile, so that the place is the heir's.
	succeeded bool
	heir      *child
	left      bool
	// turn gives back the right to start a successor; nil for a child that is none.
	turn func()
}

// enter puts a new child where it belongs; mu is held.
func (p *childPool) enter(c *child) {
	if c.before == nil || c.before.left {
		c.before = nil
		p.places[c.place] = c
		return
	}
	c.before.heir = c
	p.extra[c] = struct{}{}
}

// takeOver gives a child that is ready the place of the one before it, which it returns, nil for none; mu is held.
func (p *childPool) takeOver(c *child) *child {
	old := c.before
	if old == nil {
		return nil
	}
	p.places[c.place] = c
	delete(p.extra, c)
	p.extra[old] = struct{}{}
	c.before, old.heir, old.succeeded = nil, nil, false
	old.capacity = 0
	return old
}

// crossOut takes a child whose life is over out of the books; mu is held.
func (p *childPool) crossOut(c *child) fate {
	switch {
	case p.places[c.place] == c && c.succeeded:
		c.left = true
		p.places[c.place] = c.heir
		if c.heir != nil {
			delete(p.extra, c.heir)
			c.heir.before = nil
		}
		return replaced
	case p.places[c.place] == c:
		p.places[c.place] = nil
		return vacant
	case c.before != nil:
		delete(p.extra, c)
		c.before.heir, c.before.succeeded = nil, false
		return unused
	}
	delete(p.extra, c)
	return replaced
}

// succeed prepares the next child for a place, one in a pool at a time. While it cannot be had, the old one works on.
func (p *childPool) succeed(old *child, why error) {
	wait := p.newBackoff()
	for told := false; ; {
		select {
		case p.recycling <- struct{}{}:
		case <-old.group.exited:
			return
		case <-p.stopper.asked:
			return
		}
		if !p.beginSuccession(old, why) {
			<-p.recycling
			return
		}
		if !told {
			told = true
			p.event(Event{PID: old.group.pid, Kind: EventReplacing, Err: why})
		}
		if p.trySuccession(old, wait) {
			return
		}
		p.pause(wait.NextBackOff())
	}
}

// beginSuccession reports whether the child is still one to be replaced.
func (p *childPool) beginSuccession(old *child, why error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping || p.places[old.place] != old || old.state != ChildReady || old.stopping {
		return false
	}
	old.succeeded, old.worn = true, why
	return true
}

// trySuccession starts the next child and sees to the place for as long as it is that one's. False: the old one has it.
func (p *childPool) trySuccession(old *child, wait backoff.BackOff) (over bool) {
	s, err := p.launch(old.place, old)
	if err != nil {
		<-p.recycling
		p.event(Event{Kind: EventStartFailed, Err: err})
		p.mu.Lock()
		old.succeeded = false
		left := old.left
		p.mu.Unlock()
		if left { // nobody keeps the place now but us
			p.pause(wait.NextBackOff())
			p.keep(old.place, wait)
		}
		return left
	}
	ours, fate := p.live(s)
	switch fate {
	case unused:
		return false
	case vacant:
		if !ours {
			p.pause(wait.NextBackOff())
		}
		p.keep(old.place, wait)
	case replaced:
	}
	return true
}

// leave takes a child out of service for good: it finishes its jobs and goes. It is told to stop when it has none, not
// before: a child may hear nothing afterwards, and a job may have to be cancelled. One that is not ready is ended.
func (p *childPool) leave(c *child, why error) {
	p.mu.Lock()
	ready := !c.readyAt.IsZero()
	if c.leaving == nil {
		c.leaving = why
	}
	c.stopping, c.capacity, c.state = true, 0, ChildStopping
	c.tellIdle()
	p.mu.Unlock()
	p.slots.tell(p.Slots)
	if !ready {
		p.condemn(c, why, false)
	}
}

// isWorn is why a child that has ended so many jobs is recycled, or nil; mu is held.
func (c *child) isWorn() error {
	if c.maxJobs == 0 || c.served != c.maxJobs {
		return nil
	}
	return fmt.Errorf("%w: %d jobs", ErrRecycled, c.served)
}
