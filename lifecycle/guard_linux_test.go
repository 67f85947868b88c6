package lifecycle

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle/memory"
)

// someWards is a pool for a guard: processes with limits, and what the guard wants done with them.
type someWards struct {
	list []ward
	done []memory.Action
}

func (p *someWards) wards() []ward    { return p.list }
func (p *someWards) fresh(ward) bool  { return false }
func (p *someWards) grew(ward, int64) {}
func (p *someWards) end(_ ward, a memory.Action, _ *MemoryError, _ time.Duration) {
	p.done = append(p.done, a)
}

// guardFor makes a guard that looks when it is told to. Its wards are all this very process.
func guardFor(t *testing.T, cfg MemoryLimits, events *[]EventKind, slots ...int) (*guard, *someWards) {
	t.Helper()
	p := &someWards{}
	for _, slot := range slots {
		p.list = append(p.list, ward{group: &group{pid: os.Getpid()}, slot: slot})
	}
	g := &guard{
		cfg: cfg, pool: p, event: func(e Event) { *events = append(*events, e.Kind) },
		reader: memory.NewReader("/proc"), box: memory.FindContainer(t.TempDir()),
		seen: map[*group]*watched{}, slots: map[int]memory.Slot{}, sizes: map[int]memory.Size{},
	}
	t.Cleanup(g.reader.Close)
	return g, p
}

// A deadline of a child that went before it is nothing to wake up for again and again until the next check.
func TestTheGuardForgetsADeadlineWithItsChild(t *testing.T) {
	var events []EventKind
	g, p := guardFor(t, MemoryLimits{Limits: memory.Limits{Hard: 1, HardGrace: time.Second}}, &events, 0)
	now := time.Now()
	check := now.Add(time.Hour)
	g.pass(now, passCheck)
	deadline := g.wake(check)
	if !deadline.Before(check) || !slices.Equal(p.done, []memory.Action{memory.Stop}) {
		t.Fatalf("next at %v, done %v", deadline, p.done)
	}
	p.list = nil
	g.pass(deadline, passTime)
	if at := g.wake(check); at != check {
		t.Errorf("the guard wakes up %v before the next check", check.Sub(at))
	}
}

// Two children of one place, the one about to be replaced and its successor, are not both ended in a short time, even when
// the guard knew both before.
func TestTwoChildrenOfAPlaceAreNotEndedTogether(t *testing.T) {
	var events []EventKind
	g, p := guardFor(t, MemoryLimits{Limits: memory.Limits{Hard: 1, HardGrace: time.Hour, MinInterval: time.Hour}}, &events, 7, 7)
	now := time.Now()
	g.pass(now, passTime) // it sees both, and not their sizes
	g.pass(now, passCheck)
	if !slices.Equal(p.done, []memory.Action{memory.Stop}) || !slices.Contains(events, EventLimitTooLow) {
		t.Errorf("done %v, told %v", p.done, events)
	}
}

// hurried gives its child a job as soon as the guard has asked whom to watch.
type hurried struct {
	*childPool
	done []memory.Action
}

func (p *hurried) wards() []ward {
	list := p.childPool.wards()
	for _, c := range p.places {
		c.given = true
	}
	return list
}

func (p *hurried) end(_ ward, a memory.Action, _ *MemoryError, _ time.Duration) {
	p.done = append(p.done, a)
}

// A limit is below what a child needs if it passes that without a job, not with one that came while the guard looked.
func TestAJobThatComesWhileTheGuardLooksIsAJob(t *testing.T) {
	var events []EventKind
	g, _ := guardFor(t, MemoryLimits{Limits: memory.Limits{Soft: 1}}, &events)
	pool := &hurried{childPool: newChildPool(Config{Processes: 1})}
	pool.places[0] = &child{group: &group{pid: os.Getpid()}}
	g.pool = pool
	g.pass(time.Now(), passCheck)
	if slices.Contains(events, EventLimitTooLow) || !slices.Contains(pool.done, memory.Stop) {
		t.Errorf("told %v, done %v", events, pool.done)
	}
}

// The kernel's kill is seen here a while after it was counted, and a check may lie between the two.
func TestAKernelsKillIsKnownWhenItsProcessIsGone(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cgroup", "0::/\n")
	write("mountinfo", "1 2 0:3 / "+dir+" rw - cgroup2 cgroup2 rw\n")
	write("memory.events", "oom_kill 3\n")
	g := &guard{box: memory.FindContainer(dir)}
	g.countKills()
	want := func(what string, killed bool) {
		t.Helper()
		if g.kernelKilled() != killed {
			t.Errorf("%s: not %v", what, killed)
		}
	}
	want("before", false)
	write("memory.events", "oom_kill 4\n")
	g.countKills()
	want("a check between the kill and the end", true)
	want("it is told once", false)
	write("memory.events", "oom_kill 6\n")
	g.countKills()
	want("the first of two", true)
	g.countKills()
	want("long ago", false)
	// A count that could not be read for once has not gone down.
	if err := os.Remove(filepath.Join(dir, "memory.events")); err != nil {
		t.Fatal(err)
	}
	g.countKills()
	write("memory.events", "oom_kill 6\n")
	want("not read for once", false)
}

// A child that uses too much and does not read its frames is ended with a job that it has never seen: not that job's doing.
func TestAJobThatAChildHasNotReadIsNotBlamedForItsMemory(t *testing.T) {
	cfg := Config{
		Name: "p", Mode: ModePool, Command: []string{"sh", "-c", `echo '{"ready":true}' >&4; exec sleep 1000`},
		Concurrency: 2, SlotWait: time.Minute, EmptyWait: time.Minute,
		Memory: MemoryLimits{Limits: memory.Limits{Hard: 1}, Check: 200 * time.Millisecond},
	}
	pool, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer pool.Stop(t.Context())
	r := pool.Run(t.Context(), Job{Kind: "k"})
	if r.Cause != NotStarted || !r.GroupEmpty {
		t.Errorf("it ended as %v: %s", r.Cause, r.Err)
	}
}

// A timer that goes off with the event that it guards, or just after it, is heard after it or not at all.
func TestAChildThatIsReadyIsNotLate(t *testing.T) {
	live(t, Config{Command: []string{"sh", "-c", `echo '{"ready":true}' >&4; cat <&3 >/dev/null`}, ReadyTimeout: time.Nanosecond, KillAfter: time.Minute},
		func(pool *childPool, c *child) {
			<-c.isReady
			time.AfterFunc(5*time.Millisecond, func() { _ = pool.stop(c) })
		})
}

func TestAChildThatHasExitedHasNotHungUp(t *testing.T) {
	live(t, Config{Command: []string{"true"}, KillAfter: time.Nanosecond}, func(_ *childPool, c *child) { <-c.group.gone })
}

// live has children live one after the other, which must end well. Of two events that have happened by the time that until
// has returned either may be heard first.
func live(t *testing.T, cfg Config, until func(pool *childPool, c *child)) {
	t.Helper()
	cfg.fill()
	pool := newChildPool(cfg)
	pool.launcher = newLauncher(identity{})
	defer pool.launcher.stop()
	path, err := pool.cfg.program()
	if err != nil {
		t.Fatal(err)
	}
	pool.how.Store(pool.cfg.recipe(path, identity{}))
	for range 20 {
		c, err := pool.launch(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		until(pool, c)
		pool.attend(c)
		if err := pool.finish(c); err != nil {
			t.Fatal(err)
		}
		pool.mu.Lock()
		pool.crossOut(c)
		pool.mu.Unlock()
	}
}
