package lifecycle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seriatim/seriatim/lifecycle/memory"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// MemoryLimits limit what each process of a pool may use; the zero value limits nothing.
type MemoryLimits struct {
	// Limits are the sizes and times. KillAfter is Config's.
	memory.Limits
	// Check is how often children are looked at; 3 s.
	Check time.Duration
	// Jitter (0 to 1) is by how much the time before a soft restart is lengthened at most, differently for each child.
	Jitter float64
}

// MemoryError is why a child was ended for its memory. errors.As finds it in an Event's Err.
type MemoryError struct {
	// Limit is the limit that was passed, LimitBytes its size, Bytes what the child's whole tree used. They are 0 when the
	// kernel killed the child, because the container had no memory left.
	Limit             memory.Limit
	LimitBytes, Bytes int64
	// Fresh is set when the child had never had a job: then the limit is below what it needs.
	Fresh bool
	// Full is set when the container was nearly full, so that no time could be given.
	Full bool
}

// Error names the limit and the size.
func (e *MemoryError) Error() string {
	if e.Limit == 0 {
		return "killed by the kernel: its container was out of memory"
	}
	text := fmt.Sprintf("ended by the memory guard: it used %v, above the %v limit of %v", memory.Bytes(e.Bytes), e.Limit, memory.Bytes(e.LimitBytes))
	if e.Full {
		text += ", and the container was nearly full"
	}
	if e.Fresh {
		text += "; it had not even had a job: the limit is below what it needs"
	}
	return text
}

// guarded is a pool in the eyes of its guard, which calls it from its own goroutine.
type guarded interface {
	// wards lists the processes to watch.
	wards() []ward
	// fresh reports whether a ward has never had a job by now.
	fresh(w ward) bool
	// grew tells that a ward uses more than at the last look, so that its jobs can be told apart later.
	grew(w ward, bytes int64)
	// end does what memory.Limits wants done; wait is how long after a TERM the KILL comes.
	end(w ward, a memory.Action, why *MemoryError, wait time.Duration)
}

// ward is a process that a guard watches, with its whole tree.
type ward struct {
	group *group
	// slot names the place that another one takes after it, -1 when none does.
	slot int
	// served is how many jobs have ended in it.
	served uint64
	// Who it is to its pool: one of them is set.
	child *child
	run   *execRun
}

// guard looks at a pool's processes from time to time and has those ended that use too much. All of its state but what
// mu guards belongs to its one goroutine, which stop waits for.
type guard struct {
	cfg    MemoryLimits
	pool   guarded
	event  func(Event)
	reader *memory.Reader
	box    *memory.Container
	quit   chan struct{}
	poke   chan struct{} // holds one: a job has ended
	done   sync.WaitGroup
	looks  atomic.Uint64
	blind  bool // the process table could not be read, and that was told
	seen   map[*group]*watched
	slots  map[int]memory.Slot

	mu      sync.Mutex
	sizes   map[int]memory.Size // by the leader's pid
	counted bool                // the next two are known
	kills   int64               // by the kernel: those that were told, or were counted before the last check
	atCheck int64               // by the kernel, at the last check
}

// watched is what the guard knows of a ward.
type watched struct {
	limits memory.Limits // with this child's share of the jitter
	state  memory.State
	why    *MemoryError
	size   memory.Size
	served uint64 // at the last look after a job
	looked time.Time
}

// jobLooks is the least time between two looks at one child that a job's end asks for.
const jobLooks = 100 * time.Millisecond

// guardPool starts a guard; nil when there is nothing to watch.
func guardPool(cfg *Config, pool guarded, event func(Event)) *guard {
	if !cfg.Memory.On() {
		return nil
	}
	g := &guard{
		cfg: cfg.Memory, pool: pool, event: event,
		reader: memory.NewReader(cfg.procRoot), box: memory.FindContainer(cfg.procSelf),
		quit: make(chan struct{}), poke: make(chan struct{}, 1),
		seen: map[*group]*watched{}, slots: map[int]memory.Slot{}, sizes: map[int]memory.Size{},
	}
	g.countKills()
	g.done.Go(g.run)
	return g
}

// stop ends the guard and waits for it.
func (g *guard) stop() {
	if g != nil {
		close(g.quit)
		g.done.Wait()
	}
}

// jobEnded has the child looked at soon, in legacy mode.
func (g *guard) jobEnded() {
	if g == nil || g.cfg.Mode != memory.Legacy {
		return
	}
	select {
	case g.poke <- struct{}{}:
	default:
	}
}

// size is what a leader's tree used at the last look, 0 when that is not known.
func (g *guard) size(pid int) int64 {
	if g == nil {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sizes[pid].Bytes
}

// kernelKilled reports whether the kernel has killed a process of the container for want of memory lately: since the check
// before the last one, because a check may come between the kill and the moment in which the process is gone for us. Each
// kill is told once. A false answer may mean that nobody knows.
func (g *guard) kernelKilled() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n, ok := g.box.OOMKills(); !ok || !g.counted || n <= g.kills {
		return false
	}
	g.kills++
	return true
}

// countKills is called at each check. A count that cannot be read has not changed.
func (g *guard) countKills() {
	n, ok := g.box.OOMKills()
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.counted {
		g.counted, g.atCheck = true, n
	}
	g.kills, g.atCheck = max(g.kills, g.atCheck), n
}

// What a pass over the wards looks at.
type pass int

const (
	passCheck pass = iota // everything is read
	passJobs              // children in which a job has ended are read, as trees were at the last check
	passTime              // only time has passed
)

// run looks at every check, after jobs, and when a deadline has come.
func (g *guard) run() {
	defer g.reader.Close()
	// The first look is at a random time, so that not all pools of all workers look at once.
	check := time.Now().Add(time.Duration(rand.Int64N(int64(g.cfg.Check))))
	timer := time.NewTimer(time.Until(check))
	defer timer.Stop()
	for {
		select {
		case <-g.quit:
			return
		case <-g.poke:
			g.pass(time.Now(), passJobs)
		case <-timer.C:
			now := time.Now()
			if now.Before(check) {
				g.pass(now, passTime)
			} else {
				g.pass(now, passCheck)
				g.countKills()
				g.looks.Add(1)
				check = now.Add(g.cfg.Check)
			}
		}
		timer.Reset(time.Until(g.wake(check)))
	}
}

// wake is the next check, or the first deadline before it.
func (g *guard) wake(check time.Time) time.Time {
	for _, t := range g.seen {
		if at, ok := t.limits.Wake(t.state); ok && at.Before(check) {
			check = at
		}
	}
	return check
}

// pass goes over all wards.
func (g *guard) pass(now time.Time, what pass) {
	wards := g.pool.wards()
	if what == passCheck {
		g.scan(wards)
	}
	for _, w := range wards {
		t := g.of(w)
		in := memory.Sample{AfterJob: w.served != t.served}
		if g.reads(what, t, in.AfterJob, now) {
			g.read(w, t, &in)
			t.looked = now
			if in.Known { // else the end of a job is still to be looked at
				t.served = w.served
			}
		}
		g.step(w, t, in, now)
	}
	g.forget(wards)
}

// reads reports whether a child's size is read in this pass.
func (g *guard) reads(what pass, t *watched, afterJob bool, now time.Time) bool {
	if g.blind || what == passTime || g.cfg.Mode == memory.Legacy && !afterJob {
		return false
	}
	return what == passCheck || now.Sub(t.looked) >= jobLooks
}

// scan reads the process table. That it cannot be read is told once, and again after it could.
func (g *guard) scan(wards []ward) {
	leaders := make([]int, len(wards))
	marks := make(map[string]int, len(wards))
	for i, w := range wards {
		leaders[i] = w.group.pid
		marks[w.group.mark] = w.group.pid
	}
	delete(marks, "")
	var kin func(int) int
	if len(marks) > 0 {
		kin = func(pid int) int {
			mark, _, _ := proc.Env(pid, MarkVariable)
			return marks[mark]
		}
	}
	err := g.reader.Scan(leaders, kin)
	if err != nil && !g.blind {
		g.event(Event{Kind: EventUnguarded, Err: err})
	}
	g.blind = err != nil
}

// of is what is known of a ward.
func (g *guard) of(w ward) *watched {
	t := g.seen[w.group]
	if t == nil {
		t = &watched{limits: g.cfg.Spread(g.cfg.Jitter * rand.Float64())}
		g.seen[w.group] = t
	}
	return t
}

func (g *guard) read(w ward, t *watched, in *memory.Sample) {
	size, known := g.reader.Size(w.group.pid, g.cfg.Lowest())
	if !known {
		return
	}
	if grown := size.Resident - t.size.Resident; grown > 0 && t.size.Resident > 0 {
		g.pool.grew(w, grown)
	}
	t.size = size
	in.Known, in.Bytes = true, size.Bytes
	in.Fresh = g.pool.fresh(w) // asked after the size was read: a job that it got meanwhile may have used what was seen
	in.Full = g.cfg.Hard > 0 && size.Bytes > g.cfg.Hard && g.box.NearlyFull()
	g.mu.Lock()
	g.sizes[w.group.pid] = size
	g.mu.Unlock()
}

// step decides and acts.
func (g *guard) step(w ward, t *watched, in memory.Sample, now time.Time) {
	if w.slot >= 0 {
		t.state.Slot = g.slots[w.slot] // a child that is about to be replaced shares it with the next one
	}
	for {
		var a memory.Action
		if t.state, a = t.limits.Next(t.state, in, now); a == memory.None {
			return
		}
		if w.slot >= 0 {
			g.slots[w.slot] = t.state.Slot
		}
		if a == memory.Warn {
			g.event(Event{PID: w.group.pid, Kind: EventLimitTooLow, Err: g.reason(memory.Soft, t, in)})
			continue
		}
		if t.why == nil || in.Known && t.state.Limit > t.why.Limit {
			t.why = g.reason(t.state.Limit, t, in)
			if a == memory.Stop || a == memory.Kill {
				g.event(Event{PID: w.group.pid, Kind: EventOverMemory, Err: t.why})
			}
		}
		g.pool.end(w, a, t.why, t.state.KillAt.Sub(now))
	}
}

func (g *guard) reason(l memory.Limit, t *watched, in memory.Sample) *MemoryError {
	if g.cfg.Soft == 0 || in.Known && g.cfg.Hard > 0 && in.Bytes > g.cfg.Hard {
		l = memory.Hard
	}
	e := &MemoryError{Limit: l, LimitBytes: g.cfg.Soft, Bytes: t.size.Bytes, Fresh: in.Fresh, Full: in.Full}
	if l == memory.Hard {
		e.LimitBytes = g.cfg.Hard
	}
	return e
}

// forget drops what is known of children that are gone. Their deadlines would wake the guard up for nothing.
func (g *guard) forget(wards []ward) {
	here := make(map[*group]bool, len(wards))
	pids := make(map[int]bool, len(wards))
	for _, w := range wards {
		here[w.group], pids[w.group.pid] = true, true
	}
	for group := range g.seen {
		if !here[group] {
			delete(g.seen, group)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for pid := range g.sizes {
		if !pids[pid] {
			delete(g.sizes, pid)
		}
	}
}

// isMemory reports whether a child was ended for its memory.
func isMemory(err error) bool {
	var e *MemoryError
	return errors.As(err, &e)
}
