package lifecycle

import (
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// newBackoff is the wait between the lives of a place's children.
func (p *childPool) newBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(p.cfg.Restart.Min), backoff.WithMaxInterval(p.cfg.Restart.Max),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0),
	)
}

// keep keeps one place of the pool filled until Stop, or until a successor's goroutine does (recycle.go). It is the only
// goroutine that starts children in an empty place.
func (p *childPool) keep(place int, wait backoff.BackOff) {
	for !isClosed(p.stopper.asked) {
		c, err := p.launch(place, nil)
		if err != nil {
			p.event(Event{Kind: EventStartFailed, Err: err})
		} else {
			ours, fate := p.live(c)
			if fate == replaced {
				return
			}
			if c.lastedFor(p.cfg.Restart.Reset) {
				wait.Reset()
			}
			if ours {
				continue
			}
		}
		p.pause(wait.NextBackOff())
	}
}

// lastedFor reports whether the child was ready for at least d. Only after its life.
func (c *child) lastedFor(d time.Duration) bool {
	return !c.readyAt.IsZero() && time.Since(c.readyAt) >= d
}

// pause waits before a restart, or until Stop.
func (p *childPool) pause(d time.Duration) {
	if isClosed(p.stopper.asked) {
		return
	}
	p.event(Event{Kind: EventRestarting, Wait: d})
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.stopper.asked:
	}
}

// live is a child's life: it returns when its group is gone. A child that cannot be shown to be gone keeps its place
// until it is, or until Stop. It reports whether the life was ended for a reason of ours, so that no time need pass
// before the next one, and what became of the place.
func (p *childPool) live(c *child) (ours bool, its fate) {
	if c.turn != nil {
		defer c.turn()
	}
	pid := c.group.pid
	p.attend(c)
	err := p.finish(c)
	p.slots.tell(p.Slots)
	if !isClosed(c.group.gone) {
		p.event(Event{PID: pid, Kind: EventStuck, Err: err})
		select {
		case <-c.group.gone:
		case <-p.stopper.asked:
		}
	}
	p.mu.Lock()
	its = p.crossOut(c)
	// One that needs more memory than it may have from its start on would otherwise be started over and over.
	ours = c.ours && (!isMemory(c.reason) || c.lastedFor(p.cfg.Restart.Reset))
	p.mu.Unlock()
	p.event(Event{PID: pid, Kind: EventExited, Err: err})
	return ours, its
}

// attend answers what happens during a child's life, until its group is gone or overdue. A case that has happened is
// switched off by a nil channel.
//
//	not ready in time, garbage, newer protocol   KILL, the child's fault
//	hung up                                      a moment to exit by itself, then TERM and KILL, the child's fault
//	worn                                         a successor is started; when that is ready, as at Stop
//	Stop                                         `stop`; with no jobs left, end of file and a moment to exit; TERM, KILL
//	Stop before it was ready                     TERM, KILL
//	Stop in haste                                `cancel` for each job and TERM, KILL; or KILL
func (p *childPool) attend(c *child) {
	g := c.group
	readyIn := time.NewTimer(p.cfg.ReadyTimeout)
	defer readyIn.Stop()
	late, isReady := readyIn.C, c.isReady
	asked, term, kill := p.stopper.asked, p.stopper.term, p.stopper.kill
	var leave, aged <-chan time.Time
	var leaveWhy error
	leaveOurs := false
	worn := c.wornOut
	recycle := func(why error) {
		worn, aged = nil, nil
		p.lines.Go(func() { p.succeed(c, why) })
	}
	for {
		select {
		case <-g.gone:
			return
		case <-g.overdue:
			return
		case <-isReady:
			isReady, late = nil, nil
			if age := c.how.recycle.age(); age > 0 {
				aged = time.After(age)
			}
		case <-aged:
			recycle(fmt.Errorf("%w: %v old", ErrRecycled, c.how.recycle.MaxAge))
		case why := <-worn:
			recycle(why)
		case <-late:
			late = nil
			if p.neverReady(c) {
				p.blame(c, fmt.Errorf("%w within %v", ErrNeverReady, p.cfg.ReadyTimeout))
			}
		case err := <-c.broken:
			if !justEnded(err) {
				p.blame(c, err)
			} else if leave == nil {
				// It is most likely exiting: let it say how.
				p.outOfService(c)
				leave, leaveWhy = time.After(p.cfg.KillAfter), err
			}
		case <-asked:
			asked, late = nil, nil
			if !p.stop(c) {
				p.condemn(c, ErrStopped, false)
			}
		case <-c.idle:
			leave, leaveWhy, leaveOurs = time.After(p.cfg.KillAfter), p.dismiss(c), true
		case <-leave:
			leave = nil
			if !g.leaderIsOver() { // it may end at the same time, when this process could not run for a while
				p.retire(c, leaveWhy, leaveOurs)
				g.terminate(p.cfg.KillAfter)
			}
		case <-term:
			term = nil
			p.cancelAll(c)
			p.condemn(c, ErrStopped, false)
		case <-kill:
			kill = nil
			p.condemn(c, ErrStopped, true)
		}
	}
}

// dismiss tells a child without jobs to go, and returns why.
func (p *childPool) dismiss(c *child) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.tellStop()
	c.out.end()
	if c.leaving != nil {
		return c.leaving
	}
	return ErrStopped
}

// neverReady reports whether a child is too late, and sees to it that it stays so. One that said it in time may be heard at
// the same time as the timer, when this process could not run for a while.
func (p *childPool) neverReady(c *child) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.readyAt.IsZero() {
		return false
	}
	c.state = ChildStopping
	return true
}

// blame ends a child that cannot be used, at once.
func (p *childPool) blame(c *child, why error) {
	p.retire(c, why, false)
	c.group.kill()
}

// cancelAll tells a child that the time of all its jobs is over.
func (p *childPool) cancelAll(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for run, cl := range c.calls {
		if cl.verdict == 0 {
			cl.verdict, cl.why = Interrupted, ErrStopped.Error()
		}
		c.out.cancel(run)
	}
}

// outOfService gives a child no more jobs.
func (p *childPool) outOfService(c *child) {
	p.mu.Lock()
	c.capacity, c.state = 0, ChildStopping
	p.mu.Unlock()
	p.slots.tell(p.Slots)
}

// unknownRun tells of an answer to a run that the child does not have. It is a fault of the child, but its other jobs
// need not suffer: run numbers are never used twice, so it cannot be taken for another job's.
func (p *childPool) unknownRun(c *child, what string, run uint64) {
	p.event(Event{PID: c.group.pid, Kind: EventIgnored, Err: fmt.Errorf("%w: %s of run %d", ErrUnknownRun, what, run)})
}
