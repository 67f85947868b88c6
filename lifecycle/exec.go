package lifecycle

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// Exit codes with a meaning; every other one but 0 is a failure that may be retried.
const exitForGood = 100

// execPool starts a process per job. mu guards the fields below it; a run itself is owned by the goroutine that called
// Run, and ends when its group is gone.
type execPool struct {
	cfg     Config
	env     []string
	free    chan struct{} // a token per slot
	stopper *stopper
	slots   slotWatch
	runs    sync.WaitGroup

	mu       sync.Mutex
	started  bool
	stopping bool
	path     string
	launcher *launcher
	running  map[*group]*execRun
	guard    *guard // nil without memory limits
}

func newExecPool(cfg Config) *execPool {
	p := &execPool{cfg: cfg, free: make(chan struct{}, cfg.Concurrency), stopper: newStopper(), running: map[*group]*execRun{}}
	for range cfg.Concurrency {
		p.free <- struct{}{}
	}
	return p
}

// Start finds the program; an error says that there is none.
func (p *execPool) Start(context.Context) error {
	path, err := p.cfg.program()
	if err != nil {
		return err
	}
	who, err := p.cfg.identity()
	if err != nil {
		return err
	}
	p.mu.Lock()
	if err := startable(p.started, p.stopping); err != nil {
		p.mu.Unlock()
		return problem.New("start pool "+p.cfg.Name, err, "")
	}
	p.started, p.path, p.env, p.launcher = true, path, p.cfg.baseEnv(who), newLauncher(who)
	p.guard = guardPool(&p.cfg, p, p.event)
	p.mu.Unlock()
	p.slots.tell(p.Slots)
	return nil
}

// Stop lets the running jobs finish until ctx ends.
func (p *execPool) Stop(ctx context.Context) {
	p.mu.Lock()
	first := !p.stopping
	p.stopping = true
	p.mu.Unlock()
	if first {
		p.slots.tell(p.Slots)
		go func() { // ends when the last job's group is gone, which Stop waits for
			p.runs.Wait()
			p.guard.stop()
			if p.launcher != nil {
				p.launcher.stop()
			}
			p.stopper.finished()
		}()
	}
	p.stopper.stop(ctx)
}

// Slots is the pool's concurrency from Start to Stop.
func (p *execPool) Slots() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started || p.stopping {
		return 0
	}
	return p.cfg.Concurrency
}

func (p *execPool) OnSlots(f func(int)) { p.slots.set(f) }

// Children lists the processes of the running jobs.
func (p *execPool) Children() []ChildInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	children := make([]ChildInfo, 0, len(p.running))
	for g := range p.running {
		info := ChildInfo{PID: g.pid, Pool: p.cfg.Name, State: ChildBusy, RSSBytes: rssBytes(g.pid), TreeBytes: p.guard.size(g.pid), Jobs: 1}
		if isClosed(g.overdue) {
			info.State, info.Jobs = ChildStuck, 0
		}
		children = append(children, info)
	}
	return children
}

// Run starts a process for the job and waits until its group is gone.
func (p *execPool) Run(ctx context.Context, j Job) Result {
	p.mu.Lock()
	if !p.started || p.stopping {
		p.mu.Unlock()
		return notStarted("the pool takes no jobs now")
	}
	p.runs.Add(1)
	p.mu.Unlock()
	defer p.runs.Done()

	select {
	case <-p.free:
	default:
		if why := waitFor(ctx, p.free, p.stopper.asked, p.cfg.SlotWait); why != "" {
			return notStarted(why)
		}
	}
	if ctx.Err() != nil {
		p.free <- struct{}{}
		return notStarted(context.Cause(ctx).Error())
	}
	r, g := p.run(ctx, &j)
	if g == nil || r.GroupEmpty {
		p.release(g)
		return r
	}
	// The slot stays taken as long as something may still run.
	p.runs.Go(func() {
		select {
		case <-g.gone:
		case <-p.stopper.asked:
		}
		p.release(g)
	})
	return r
}

// release ends a run's hold on its slot.
func (p *execPool) release(g *group) {
	p.mu.Lock()
	delete(p.running, g)
	p.mu.Unlock()
	p.free <- struct{}{}
}

// waitFor takes a token, or says why there was none.
func waitFor(ctx context.Context, token <-chan struct{}, asked <-chan struct{}, most time.Duration) string {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-token:
		return ""
	case <-ctx.Done():
		return context.Cause(ctx).Error()
	case <-asked:
		return ErrStopped.Error()
	case <-timer.C:
		return "no slot became free within " + most.String()
	}
}

// run returns a nil group when nothing was started.
func (p *execPool) run(ctx context.Context, j *Job) (Result, *group) {
	env, err := jobEnv(p.env, j)
	if err != nil {
		return Result{Cause: FailedForGood, Err: shorten(err.Error()), GroupEmpty: true}, nil
	}
	g, output, input, err := p.launch(env, j)
	if errors.Is(err, syscall.E2BIG) {
		return Result{Cause: FailedForGood, Err: "its headers do not fit into an environment", GroupEmpty: true}, nil
	}
	if err != nil {
		p.event(Event{Kind: EventStartFailed, Err: err})
		return notStarted(err.Error()), nil
	}
	started := time.Now()
	p.mu.Lock()
	run := newExecRun(g)
	p.running[g] = run
	p.mu.Unlock()

	if j.Started != nil {
		j.Started(g.pid)
	}
	verdict, why := p.await(ctx, run, j.Timeout, j.Kill)
	input.close()
	last := output.finish()
	if exit := g.exitError(""); verdict == 0 && exit != nil && exit.Signal == int(syscall.SIGKILL) && p.guard.kernelKilled() {
		verdict, why = Memory, (&MemoryError{}).Error()
	}
	r := execResult(g, verdict, why, last)
	r.Log, r.StartedAt, r.Took = output.tail.since(0), started, time.Since(started)
	return r, g
}

// launch starts the process with its pipes. Standard input is written beside the job: it may never read.
func (p *execPool) launch(env []string, j *Job) (*group, *logs, *body, error) {
	var fds pipes
	fail := func(err error) (*group, *logs, *body, error) {
		fds.closeAll()
		return nil, nil, nil, problem.New("start "+p.cfg.Command[0], err, startHint(err))
	}
	stdin, err := fds.in()
	if err != nil {
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
	proc, mark, err := p.launcher.start(p.path, p.cfg.Command, env, fds.theirs)
	if err != nil {
		return fail(err)
	}
	fds.closeTheirs()
	g := watchGroup(proc, mark, p.cfg.EmptyWait)
	line := LogLine{
		Pool: p.cfg.Name, PID: g.pid, Queue: j.Queue, Entity: j.Entity, Kind: j.Kind, ID: j.ID, Seq: j.Seq, Attempt: j.Attempt,
	}
	return g, readLogs(stdout, stderr, line, p.cfg.Log), feed(stdin, j.Body), nil
}

// await waits for the group and ends it early when it must. The verdict is 0 when the process ended by itself.
func (p *execPool) await(ctx context.Context, run *execRun, limit time.Duration, now <-chan struct{}) (verdict Cause, why string) {
	g := run.group
	var timeout <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	done, term, kill := ctx.Done(), p.stopper.term, p.stopper.kill
	grace := p.cfg.KillAfter
	end := func(cause Cause, reason string, grace time.Duration) { // without a grace KILL comes at once
		if verdict == 0 && !g.leaderIsOver() {
			verdict, why = cause, reason
		}
		if grace > 0 {
			g.terminate(grace)
		} else {
			g.kill()
		}
	}
	for {
		select {
		case <-g.gone:
			return verdict, why
		case <-g.overdue:
			return verdict, why
		case <-timeout:
			timeout = nil
			end(TimedOut, "timed out after "+limit.String(), grace)
		case o := <-run.orders:
			end(Memory, o.why.Error(), o.wait)
		case <-done:
			done = nil
			cause := context.Cause(ctx)
			if errors.Is(cause, ErrKillNow) {
				end(Interrupted, cause.Error(), 0)
			} else {
				end(Interrupted, cause.Error(), grace)
			}
		case <-now:
			now = nil
			end(Interrupted, ErrKillNow.Error(), 0)
		case <-term:
			term = nil
			end(Interrupted, ErrStopped.Error(), grace)
		case <-kill:
			kill = nil
			end(Interrupted, ErrStopped.Error(), 0)
		}
	}
}

// execResult reads the exit status. A process that we ended has not finished its job, whatever its status says: many
// programs answer TERM with exit code 0.
func execResult(g *group, verdict Cause, why, last string) Result {
	r := Result{Cause: verdict, GroupEmpty: isClosed(g.gone)}
	if verdict != 0 {
		r.Err = shorten(withLast(why, last))
		return r
	}
	exit := g.exitError("")
	switch {
	case exit == nil:
		r.Cause = Done
		return r
	case exit.Code < 0:
		r.Cause, r.Err = Crashed, withLast("its process "+exit.Error(), last)
	default:
		r.Cause, r.Err = Failed, last
		if exit.Code == exitForGood {
			r.Cause = FailedForGood
		}
		if last == "" {
			r.Err = exit.Error()
		}
	}
	r.Err = shorten(r.Err)
	return r
}

// body is what a process reads from its standard input.
type body struct {
	f       *os.File
	written chan struct{}
}

// feed writes the body and then ends the file. What fits the pipe costs no goroutine.
func feed(f *os.File, data []byte) *body {
	b := &body{f: f}
	if len(data) > 0 {
		data = data[writeNow(f, data):]
	}
	if len(data) == 0 {
		_ = f.Close()
		return b
	}
	b.written = make(chan struct{})
	go func() { // ends by close at the latest
		defer close(b.written)
		_, _ = f.Write(data) // a process need not read all of its job
		_ = f.Close()
	}()
	return b
}

// close ends the writing and waits for it.
func (b *body) close() {
	_ = b.f.Close()
	if b.written != nil {
		<-b.written
	}
}

// event tells what happened to a process, or to the guard.
func (p *execPool) event(e Event) {
	e.Pool = p.cfg.Name
	p.cfg.OnEvent(e)
}
