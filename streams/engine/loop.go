package engine

import (
	"context"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

// loop is the one goroutine that owns the holder.
func (e *Engine) loop() {
	defer e.tasks.Done()
	defer close(e.ended)
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	defer e.soon.Stop()
	for {
		select {
		case <-e.in.wake:
		case <-tick.C:
		case <-e.soon.C:
		}
		if e.round() {
			return
		}
	}
}

// round takes a batch of what came in and carries out what follows from it, until nothing more does. It reports
// whether the engine is done.
func (e *Engine) round() bool {
	for {
		e.at = clock.Boot()
		e.lastRound.Store(int64(time.Since(e.startedAt)))
		e.holder.At(e.at, e.serverNow())
		items := e.in.take()
		for i := range items {
			e.handle(&items[i])
		}
		if e.at >= e.lastTick+tickEvery {
			e.tick()
		}
		e.holder.WantPull()
		outputs := e.holder.Take()
		for i := range outputs {
			e.output(&outputs[i])
		}
		e.flushHeads()
		e.flushGates()
		e.moveFence()
		e.tellHeld()
		e.tellStatus()
		e.tellReady()
		if e.stopping != nil && e.stopped() {
			return true
		}
		if len(items) == 0 {
			return false
		}
	}
}

func (e *Engine) handle(it *item) {
	switch {
	case it.do != nil:
		it.do()
	case it.done != nil:
		e.finished(it.done, it.out)
	case it.p != nil:
		e.pulled(it.p, it.msg)
	case it.failed:
		e.unsent(it.n)
	default:
		e.answered(it.n, it.msg)
	}
}

// output carries out one thing that the holder wants.
func (e *Engine) output(o *lane.Output) {
	switch {
	case o.Action != nil:
		e.perform(o.Lane, o.Action)
	case o.Session != nil:
		e.writeSession(*o.Session)
	case o.Dead != nil:
		e.declareDead(*o.Dead)
	case o.Farewell != nil:
		e.sayGoodbye(*o.Farewell, e.saidGoodbye)
	case o.Pull != nil:
		e.sendPull(*o.Pull)
	case o.Over != "":
		e.opts.Log.Error().Str("session", o.Over).Msg("the session is over: no confirmation came in time; all jobs are killed and handed back in a new session")
		e.opts.Observe(Event{Kind: EventSessionLost, Error: "no confirmation of session " + o.Over + " came in time"})
	}
}

// tick lets time pass.
func (e *Engine) tick() {
	e.lastTick = e.at
	e.holder.Tick()
	e.elsewhere()
	e.expirePulls()
	e.wire.forget(e.at - time.Minute)
	if e.at >= e.lastKeep+e.lease/3 {
		e.lastKeep = e.at
		e.keepTurns()
	}
}

// keepTurns tells the server that the turns of running jobs are still held. It is a courtesy: it saves a redelivery.
func (e *Engine) keepTurns() {
	e.holder.Each(func(_ string, s *lane.State) {
		if d, ok := s.Turn.Token.(delivery); ok && s.Busy() {
			_ = e.conn.Publish(d.reply, ackProgress) // without it the turn comes back, and finds the claim
		}
	})
}

// moveFence moves the deadlines of what runs on.
func (e *Engine) moveFence() {
	s := e.holder.Session()
	if s.Phase != lane.SessionStands {
		e.fence.session(0)
		return
	}
	e.fence.session(s.Until)
	if e.at == e.lastTick {
		e.fence.claims(e.holder.ClaimUntil)
	}
}

// dropped: a lane's machine is done.
func (e *Engine) dropped(name string) {
	delete(e.writes, name)
	delete(e.ends, name)
	e.visited(name)
}

// visited: the lane has a turn, or needs none.
func (e *Engine) visited(name string) {
	for _, done := range e.visits[name] {
		done()
	}
	delete(e.visits, name)
}

// visit looks whether a lane lacks a turn; done is called on the loop when that is known. The turn may come to this very
// worker before the answer to its publish does: then the lane stays in hand, and that answer is what is waited for.
func (e *Engine) visit(name string, v lane.Visit, done func()) {
	e.in.put(item{do: func() {
		if !e.holder.Visit(name, v) {
			done()
			return
		}
		e.visits[name] = append(e.visits[name], done)
	}})
}

// stopping is how far a Stop has come.
type stopping struct {
	force   <-chan struct{} // closed when what runs is to be ended
	forced  bool
	bye     bool
	byeDone bool
	byeBy   time.Duration
	stuck   bool
}

// byeWait is how long the answer to the farewell is waited for; without a farewell the worker counts as lost, no more.
const byeWait = 2 * time.Second

// Stop hands everything back: no further job is started; those that run may finish until drain ends, then they are
// ended. It returns when the last group is empty, claims and turns are given back and the farewell is said, or when ctx
// ends: then the lease does the rest. It returns ctx's cause in that case.
func (e *Engine) Stop(ctx, drain context.Context) error {
	e.in.put(item{do: func() {
		if e.stopping != nil {
			return
		}
		e.phase = streams.StateStopping
		e.stopping = &stopping{force: drain.Done()}
		e.holder.Drain()
		e.holder.TouchSession()
		e.drainPulls()
	}})
	var err error
	select {
	case <-e.ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
		e.in.put(item{do: func() { e.giveUp() }})
		<-e.ended
	}
	e.cancel()
	e.runs.Wait()
	e.tasks.Wait()
	e.fence.close()
	_ = e.wire.close() // fails only when the connection is closed
	return err
}

// giveUp ends the loop without handing back what is left; what runs is killed first.
func (e *Engine) giveUp() {
	e.fence.each(func(r *run) { r.end(true, nil) })
	e.stopping = &stopping{byeDone: true, bye: true, stuck: true}
}

// stopped moves a stop on and reports whether it is done.
func (e *Engine) stopped() bool {
	s := e.stopping
	if s.stuck {
		return true
	}
	if !s.forced {
		select {
		case <-s.force:
			s.forced = true
			e.holder.StopLanes()
			e.in.put(item{do: func() {}}) // one more round for what this led to
		default:
		}
	}
	if e.holder.Lanes() > 0 || !e.pullsDrained() || s.byeDone {
		return s.byeDone
	}
	if s.bye {
		return e.at > s.byeBy
	}
	f, ok := e.holder.Goodbye()
	if !ok {
		return e.holder.Session().Phase == lane.SessionNone
	}
	s.bye, s.byeBy = true, e.at+byeWait
	e.sayGoodbye(f, func(bool) { s.byeDone = true })
	return false
}
