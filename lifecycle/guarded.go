package lifecycle

import (
	"fmt"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/lifecycle/memory"
)

// What pools do for their memory guard (guard.go).

// wards lists the children that have a process.
func (p *childPool) wards() []ward {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]ward, 0, len(p.places)+len(p.extra))
	add := func(c *child) {
		if c != nil && c.state != ChildStuck {
			list = append(list, ward{group: c.group, slot: c.place, served: c.served, child: c})
		}
	}
	for _, c := range p.places {
		add(c)
	}
	for c := range p.extra {
		add(c)
	}
	return list
}

func (p *childPool) fresh(w ward) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !w.child.given
}

// grew shares what a child has grown among the jobs that run in it.
func (p *childPool) grew(w ward, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cl := range w.child.calls {
		cl.grown += bytes / int64(len(w.child.calls))
	}
}

// end ends a child for its memory. Until the TERM its jobs may finish; the child goes as soon as it has none.
func (p *childPool) end(w ward, a memory.Action, why *MemoryError, wait time.Duration) {
	c := w.child
	switch a {
	case memory.Stop:
		p.leave(c, why)
	case memory.Term:
		p.sentence(c, why, true)
		p.retire(c, why, true)
		c.group.terminate(wait)
	case memory.Kill:
		p.sentence(c, why, false)
		p.condemn(c, why, true)
	case memory.None, memory.Warn:
	}
}

// sentence notes why the jobs of a child end that is killed for its memory, and tells the child if it is to hear it.
func (p *childPool) sentence(c *child, why *MemoryError, tell bool) {
	if c.group.leaderIsOver() {
		return // they ended with it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.blame(why, c.out.seen())
	if tell {
		for run := range c.calls {
			c.out.cancel(run)
		}
	}
}

// blame gives the jobs of a child that was ended for its memory their verdicts; the pool's mu is held. One that the child
// has not read, which begins at seen in its frames or after that, gets none: it did not start.
func (c *child) blame(why *MemoryError, seen int64) {
	culprit := c.culprit(seen)
	for _, cl := range c.calls {
		switch {
		case cl.verdict != 0 || cl.at >= seen:
		case cl == culprit:
			cl.verdict, cl.why = Memory, why.Error()
		default:
			cl.verdict, cl.why = Interrupted, fmt.Sprintf("its child was ended, with %d jobs: %v", len(c.calls), why)
		}
	}
}

// culprit is the job during which the child grew most, of those that begin before seen in its frames; of those that come
// near to it the youngest, because the others have run for a while without such growth. The pool's mu is held.
func (c *child) culprit(seen int64) (it *call) {
	most := int64(0)
	for _, cl := range c.calls {
		if cl.at < seen {
			most = max(most, cl.grown)
		}
	}
	for _, cl := range c.calls {
		if cl.at < seen && cl.grown >= most-most/10 && (it == nil || cl.run > it.run) {
			it = cl
		}
	}
	return it
}

// killedByKernel finds out whether a child that was killed by nobody here was killed for want of memory; seen is what it has
// read of its frames.
func (p *childPool) killedByKernel(c *child, exit *ExitError, seen int64) {
	if exit == nil || exit.Signal != int(syscall.SIGKILL) {
		return
	}
	p.mu.Lock()
	known := c.reason != nil
	p.mu.Unlock()
	if known || !p.guard.kernelKilled() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	why := &MemoryError{}
	c.blame(why, seen)
	c.reason = why
}

// execRun is a process of an exec pool while it runs. The guard's orders to it are carried out by the goroutine of its Run.
type execRun struct {
	group  *group
	orders chan execOrder
}

// execOrder ends a process for its memory: KILL comes after wait, at once without one.
type execOrder struct {
	why  *MemoryError
	wait time.Duration
}

// memoryOrders is how many orders a process may get: TERM and KILL.
const memoryOrders = 2

func newExecRun(g *group) *execRun {
	return &execRun{group: g, orders: make(chan execOrder, memoryOrders)}
}

// wards lists the running processes. Each one is the only one in its life: there is no slot.
func (p *execPool) wards() []ward {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]ward, 0, len(p.running))
	for g, r := range p.running {
		if !isClosed(g.overdue) {
			list = append(list, ward{group: g, slot: -1, run: r})
		}
	}
	return list
}

func (p *execPool) fresh(ward) bool { return false }

func (p *execPool) grew(ward, int64) {}

// end ends a process for its memory. It takes no further jobs anyhow.
func (p *execPool) end(w ward, a memory.Action, why *MemoryError, wait time.Duration) {
	switch a {
	case memory.Term:
		w.run.orders <- execOrder{why: why, wait: wait}
	case memory.Kill:
		w.run.orders <- execOrder{why: why}
	case memory.None, memory.Warn, memory.Stop:
	}
}
