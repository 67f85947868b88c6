package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/seriatim/seriatim/lifecycle/frames"
)

// call is one Run of a child pool. Its caller waits on done, which gets exactly one result. The fields below job are
// guarded by the pool's mu.
type call struct {
	run  uint64
	job  Job
	done chan Result // holds one

	child   *child        // nil until it has a slot
	placed  chan struct{} // closed when a call that had to wait got one; nil for the others
	at      int64         // where its frame begins in the child's stream
	verdict Cause         // set when this very job is being ended
	why     string
	started time.Time
	logFrom int64 // where the child's log was then
	shared  bool  // the child had other jobs meanwhile
	grown   int64 // its share, in bytes, of what the child grew while it ran
}

// Run gives the job to the ready child with the most free slots.
func (p *childPool) Run(ctx context.Context, j Job) Result {
	if ctx.Err() != nil {
		return notStarted(context.Cause(ctx).Error())
	}
	cl := &call{run: p.lastRun.Add(1), job: j, done: make(chan Result, 1)}
	p.mu.Lock()
	if !p.started || p.stopping {
		p.mu.Unlock()
		return notStarted("the pool takes no jobs now")
	}
	c := p.freest()
	if c == nil || len(p.waiting) > 0 {
		cl.placed = make(chan struct{})
		p.waiting = append(p.waiting, cl)
		p.mu.Unlock()
		if why := waitFor(ctx, cl.placed, p.stopper.asked, p.cfg.SlotWait); why != "" && p.withdraw(cl) {
			return notStarted(why)
		}
	} else {
		p.place(cl, c)
		p.mu.Unlock()
	}
	return p.await(ctx, cl)
}

// freest is the child with the most free slots, nil when there is none; mu is held.
func (p *childPool) freest() (best *child) {
	most := 0
	for _, c := range p.places {
		if c != nil && c.capacity-len(c.calls) > most {
			best, most = c, c.capacity-len(c.calls)
		}
	}
	return best
}

// place hands the call's job to the child; mu is held.
func (p *childPool) place(cl *call, c *child) {
	cl.child = c
	c.calls[cl.run], c.given = cl, true
	cl.started, cl.logFrom = time.Now(), c.logs.tail.position()
	if len(c.calls) > 1 {
		for _, other := range c.calls {
			other.shared = true
		}
	}
	j := &cl.job
	cl.at = c.out.job(&frames.Job{
		Run: cl.run, Queue: j.Queue, Entity: j.Entity, Kind: j.Kind, ID: j.ID, Seq: j.Seq, Fence: j.Fence,
		Attempt: j.Attempt, Timeout: j.Timeout, Headers: j.Headers, Traceparent: j.Traceparent, Body: j.Body,
	})
	if cl.placed != nil {
		close(cl.placed)
	}
}

// serve gives free slots to the calls that wait; mu is held.
func (p *childPool) serve() {
	for len(p.waiting) > 0 {
		c := p.freest()
		if c == nil {
			return
		}
		p.place(p.waiting[0], c)
		p.waiting = p.waiting[1:]
	}
}

// withdraw takes a call that waits out of the line; false when it got a slot, or a result, in the meantime.
func (p *childPool) withdraw(cl *call) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiting {
		if other == cl {
			p.waiting = append(p.waiting[:i:i], p.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// await waits for the call's result and ends the job early when it must. A job past its time is told so first, because
// ending it by force costs its neighbours in the child.
func (p *childPool) await(ctx context.Context, cl *call) Result {
	if c := p.childOf(cl); c != nil && cl.job.Started != nil {
		cl.job.Started(c.group.pid)
	}
	var timeout, force <-chan time.Time
	var forceWhy error
	if cl.job.Timeout > 0 {
		timer := time.NewTimer(cl.job.Timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	tell := func(verdict Cause, why string, reason error) {
		p.cancel(cl, verdict, why)
		if force == nil {
			force, forceWhy = time.After(p.cfg.KillAfter), reason
		}
	}
	done, now := ctx.Done(), cl.job.Kill
	for {
		select {
		case r := <-cl.done:
			return r
		case <-timeout:
			timeout = nil
			tell(TimedOut, "timed out after "+cl.job.Timeout.String(), ErrOverran)
		case <-force:
			if p.judge(cl, Interrupted, forceWhy.Error()) {
				p.condemn(cl.child, forceWhy, false)
			}
		case <-now:
			now = nil
			if p.judge(cl, Interrupted, ErrKillNow.Error()) {
				p.condemn(cl.child, ErrKillNow, true)
			}
		case <-done:
			done = nil
			switch cause := context.Cause(ctx); {
			case errors.Is(cause, ErrCancel):
				tell(Interrupted, cause.Error(), cause)
			case errors.Is(cause, ErrKillNow):
				if p.judge(cl, Interrupted, cause.Error()) {
					p.condemn(cl.child, cause, true)
				}
			default:
				if p.cancel(cl, Interrupted, cause.Error()) {
					p.condemn(cl.child, cause, false)
				}
			}
		}
	}
}

// childOf is the child that has the call's job, nil when a stop of the pool came before one had it.
func (p *childPool) childOf(cl *call) *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cl.child
}

// judge notes why a job is being ended; the first reason stays. It reports whether the job still runs: when it was
// answered meanwhile, its neighbours must not pay for it.
func (p *childPool) judge(cl *call, verdict Cause, why string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cl.child == nil || cl.child.calls[cl.run] != cl {
		return false
	}
	if cl.verdict == 0 {
		cl.verdict, cl.why = verdict, why
	}
	return true
}

// cancel is judge, and tells the child that the job's time is over.
func (p *childPool) cancel(cl *call, verdict Cause, why string) bool {
	runs := p.judge(cl, verdict, why)
	if runs {
		cl.child.out.cancel(cl.run)
	}
	return runs
}

// condemn ends a whole child for a reason that is ours: KILL now, or TERM and later KILL.
func (p *childPool) condemn(c *child, why error, now bool) {
	p.retire(c, why, true)
	if now {
		c.group.kill()
	} else {
		c.group.terminate(p.cfg.KillAfter)
	}
}

// retire takes a child out of service. The first reason stays, and none that is ours is noted when the child has died
// already: then its jobs crashed, whatever we were about to do.
func (p *childPool) retire(c *child, why error, ours bool) {
	over := c.group.leaderIsOver()
	p.mu.Lock()
	c.capacity = 0
	if c.state != ChildStuck {
		c.state = ChildStopping
	}
	if c.reason == nil && (!ours || !over) {
		c.reason, c.ours = why, ours
	}
	p.mu.Unlock()
	p.slots.tell(p.Slots)
}

// answer is one frame from a child.
func (p *childPool) answer(c *child, a frames.Answer) {
	switch a.Kind {
	case frames.AnswerReady:
		p.ready(c, a)
	case frames.AnswerDone, frames.AnswerFail:
		p.over(c, a)
	case frames.AnswerProgress:
		p.mu.Lock()
		cl := c.calls[a.Run]
		p.mu.Unlock()
		if cl == nil {
			p.unknownRun(c, "progress", a.Run)
			return
		}
		p.cfg.OnProgress(cl.job, Progress{At: a.At, Of: a.Of, Note: a.Note})
	case frames.AnswerUnknown: // from a newer child
	}
}

// over delivers a job's result and gives its slot to the next.
func (p *childPool) over(c *child, a frames.Answer) {
	c.logs.settle() // what it printed before it answered, and nothing of the next job
	p.mu.Lock()
	cl := c.calls[a.Run]
	if cl == nil {
		p.mu.Unlock()
		p.unknownRun(c, "an end", a.Run)
		return
	}
	delete(c.calls, a.Run)
	r := cl.result(a)
	cl.evidence(&r)
	c.served++
	if why := c.isWorn(); why != nil {
		select {
		case c.wornOut <- why:
		default: // it is about to be replaced anyway
		}
	}
	if len(p.waiting) > 0 {
		p.serve()
	}
	c.tellIdle()
	p.mu.Unlock()
	cl.done <- r
	p.guard.jobEnded()
}

// evidence adds when the job ran and what was printed meanwhile. The log's readers have settled.
func (cl *call) evidence(r *Result) {
	r.StartedAt, r.Took = cl.started, time.Since(cl.started)
	r.Log, r.LogShared = cl.child.logs.tail.since(cl.logFrom), cl.shared
}

// result is what an answer means. What a job says about itself counts, except that a failure after we began to end it
// is of our making; mu is held.
func (cl *call) result(a frames.Answer) Result {
	r := Result{Cause: Done, Body: a.Body, GroupEmpty: true}
	if a.Kind == frames.AnswerDone {
		return r
	}
	r.Cause, r.Err, r.RetryIn = Failed, shorten(a.Error), a.RetryIn
	switch {
	case !a.Retry:
		r.Cause, r.RetryIn = FailedForGood, 0
	case cl.verdict != 0:
		r.Cause, r.Err, r.RetryIn = cl.verdict, shorten(withLast(cl.why, a.Error)), 0
	case cl.child.ours:
		r.Cause, r.Err, r.RetryIn = Interrupted, shorten(withLast(cl.child.reason.Error(), a.Error)), 0
	case r.Err == "":
		r.Err = "the child gave no reason"
	}
	return r
}
