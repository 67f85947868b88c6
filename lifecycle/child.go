package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

// child is one life of a process that takes frames.
type child struct {
	how     *recipe // what it was started by
	group   *group
	out     *outbox
	answers *source
	logs    *logs
	work    sync.WaitGroup // reader and writer
	isReady chan struct{}  // closed by the reader at the first `ready`
	idle    chan struct{}  // holds one: the child is stopping and has no jobs
	wornOut chan error     // holds one: it is to be recycled, and why
	broken  chan error     // holds one of each goroutine: its end of the protocol is over, and why

	// Guarded by the pool's mu.
	state    ChildState
	capacity int // jobs at once; 0 when not in service
	calls    map[uint64]*call
	stopping bool
	told     bool  // to stop
	reason   error // why it was taken out of service
	ours     bool  // the reason is not the child's fault
	leaving  error // why it finishes its jobs and goes, while nothing worse has happened
	worn     error // why it is being recycled
	given    bool  // it has had a job
	served   uint64
	maxJobs  uint64 // 0 for any number
	readyAt  time.Time
	lineage
}

// launch starts a child with its pipes and goroutines in a place of the pool; before is the child whose place it is to
// take when it is ready, nil when the place is empty. They end by finish.
func (p *childPool) launch(place int, before *child) (*child, error) {
	how := p.how.Load()
	var fds pipes
	fail := func(err error) (*child, error) {
		fds.closeAll()
		return nil, problem.New("start "+how.command[0], err, startHint(err))
	}
	if err := fds.null(); err != nil {
		return fail(err)
	}
	stdout, err := fds.out()
	if err != nil {
		return fail(err)
	}
	stderr, err := fds.out()
	if err != nil {
		return fail(err)
	}
	orders, err := fds.in()
	if err != nil {
		return fail(err)
	}
	answers, err := fds.out()
	if err != nil {
		return fail(err)
	}
	proc, mark, err := p.launcher.start(how.path, how.command, how.env, fds.theirs)
	if err != nil {
		return fail(err)
	}
	fds.closeTheirs()
	c := &child{
		group: watchGroup(proc, mark, p.cfg.EmptyWait), out: newOutbox(orders), answers: answers,
		isReady: make(chan struct{}), idle: make(chan struct{}, 1), wornOut: make(chan error, 1), broken: make(chan error, 2),
		state: ChildStarting, calls: map[uint64]*call{}, maxJobs: how.recycle.jobs(), how: how,
		lineage: lineage{place: place, before: before},
	}
	if before != nil {
		c.turn = sync.OnceFunc(func() { <-p.recycling })
	}
	p.mu.Lock()
	p.enter(c)
	p.mu.Unlock()
	p.event(Event{PID: c.group.pid, Kind: EventStarted})
	c.logs = readLogs(stdout, stderr, LogLine{Pool: p.cfg.Name, PID: c.group.pid}, p.cfg.Log)
	c.work.Go(func() { c.broken <- p.readAnswers(c) })
	c.work.Go(func() {
		if err := c.out.run(); err != nil {
			c.broken <- fmt.Errorf("%w (fd 3): %w", ErrHungUp, err)
		}
	})
	return c, nil
}

// readAnswers reads until the child's answers end; the error says how.
func (p *childPool) readAnswers(c *child) error {
	r := frames.NewReader(c.answers, p.cfg.Frames)
	for {
		a, err := r.Answer()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w (fd 4)", ErrHungUp)
		}
		if err != nil {
			return err
		}
		if a.Kind == frames.AnswerReady && a.Version > frames.Version {
			return problem.New(fmt.Sprintf("it speaks version %d of the frames, this workerd %d", a.Version, frames.Version),
				ErrNewerProtocol, "upgrade workerd on this host first, then its children")
		}
		p.answer(c, a)
	}
}

// ready puts a child into service. A child that says it again changes nothing.
func (p *childPool) ready(c *child, a frames.Answer) {
	p.mu.Lock()
	if c.state != ChildStarting || c.stopping {
		p.mu.Unlock()
		return
	}
	c.state, c.capacity, c.readyAt = ChildReady, min(a.Concurrency, c.how.concurrency), time.Now()
	p.outdated(c)
	old := p.takeOver(c)
	p.serve()
	p.mu.Unlock()
	close(c.isReady)
	p.event(Event{PID: c.group.pid, Kind: EventReady})
	p.slots.tell(p.Slots)
	if old != nil {
		c.turn()
		p.leave(old, old.worn)
	}
}

// stop tells a child to finish what runs. It reports whether the child was ready for such words.
func (p *childPool) stop(c *child) (ready bool) {
	p.mu.Lock()
	ready = !c.readyAt.IsZero()
	if ready {
		c.tellStop()
	}
	c.stopping, c.capacity, c.state = true, 0, ChildStopping
	c.tellIdle()
	p.mu.Unlock()
	p.slots.tell(p.Slots)
	return ready
}

// tellStop sends the frame, once; the pool's mu is held.
func (c *child) tellStop() {
	if !c.told {
		c.told = true
		c.out.stop()
	}
}

// tellIdle tells the supervisor when a stopping child has nothing left to do; the pool's mu is held.
func (c *child) tellIdle() {
	if c.stopping && len(c.calls) == 0 {
		select {
		case c.idle <- struct{}{}:
		default:
		}
	}
}

// finish takes what the child still said, ends its goroutines, and gives every job that it had its result. The group is
// gone, or overdue. It returns how the child ended, nil for exit code 0.
func (p *childPool) finish(c *child) error {
	empty := isClosed(c.group.gone)
	p.outOfService(c)
	c.answers.finish()
	c.out.cut()
	c.work.Wait()
	for range len(c.broken) {
		if err := <-c.broken; !justEnded(err) {
			p.retire(c, err, false)
		}
	}
	read := c.out.read()
	_ = c.answers.f.Close()
	last := c.logs.finish()
	exit := c.group.exitError(last)
	p.killedByKernel(c, exit, read)

	p.mu.Lock()
	calls := c.calls
	c.calls = nil
	if !empty {
		c.state = ChildStuck
	}
	if c.reason == nil && exit == nil && c.leaving != nil && len(calls) == 0 {
		c.reason, c.ours = c.leaving, true
	}
	reason, ours := c.reason, c.ours
	p.mu.Unlock()
	for _, cl := range calls {
		r := cl.lost(reason, ours, exit, read)
		if r.Cause != NotStarted {
			cl.evidence(&r)
		}
		r.GroupEmpty = empty
		cl.done <- r
	}
	switch {
	case errors.Is(reason, ErrStopped) && exit == nil:
		return nil
	case reason != nil:
		return withExit(reason, exit)
	case exit != nil:
		return exit
	}
	return nil
}

// justEnded reports whether the end of the protocol is no more than what the end of a process looks like.
func justEnded(err error) bool {
	return errors.Is(err, ErrHungUp) || errors.Is(err, frames.ErrTruncated)
}

// withExit keeps both: why a child was ended, and how it ended.
func withExit(reason error, exit *ExitError) error {
	if exit == nil {
		return reason
	}
	return fmt.Errorf("%w; it %w", reason, exit)
}

// lost is the result of a job whose child has ended without an answer. Its verdict no longer changes: it is out of the
// child's table.
func (cl *call) lost(reason error, ours bool, exit *ExitError, read int64) Result {
	switch {
	case cl.verdict != 0:
		return Result{Cause: cl.verdict, Err: shorten(cl.why)}
	case cl.at >= read:
		return Result{Cause: NotStarted, Err: "the child ended before it read the job"}
	case ours:
		return Result{Cause: Interrupted, Err: shorten("its child was ended: " + reason.Error())}
	case reason != nil:
		return Result{Cause: Crashed, Err: shorten("its child was ended: " + withExit(reason, exit).Error())}
	case exit != nil:
		return Result{Cause: Crashed, Err: shorten("its child " + exit.Error())}
	}
	return Result{Cause: Crashed, Err: "its child exited with status 0 and left the job"}
}
