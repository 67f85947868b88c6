package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
)

// repeat does something every so often until all jobs are done or the time is over.
func (d *demo) repeat(ctx context.Context, every, span time.Duration, do func() error) error {
	for end := time.Now().Add(span); time.Now().Before(end); {
		if d.allDone() {
			return nil
		}
		if err := do(); err != nil {
			return err
		}
		if err := sleep(ctx, every); err != nil {
			return err
		}
	}
	return nil
}

// running lists the entities of which a job runs, at most n, in random order.
func (d *demo) running(n int) (entities []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.tail.Open() {
		entities = append(entities, e.Entity)
	}
	rand.Shuffle(len(entities), func(i, j int) { entities[i], entities[j] = entities[j], entities[i] })
	return entities[:min(n, len(entities))]
}

// doubling is a meddler that doubles turns of running jobs; close it.
func (d *demo) doubling() (m *fleet.Meddler, double func(ctx context.Context) error, err error) {
	m, err = fleet.NewMeddler(d.url, queue)
	if err != nil {
		return nil, nil, err
	}
	return m, func(ctx context.Context) error {
		_, err := m.Double(ctx, d.running(20)...)
		return err
	}, nil
}

func doubleTurns(ctx context.Context, d *demo) error {
	m, double, err := d.doubling()
	if err != nil {
		return err
	}
	defer m.Close()
	return d.repeat(ctx, 20*time.Millisecond, time.Minute, func() error { return double(ctx) })
}

// begunBy waits until a worker runs so many jobs.
func (d *demo) begunBy(ctx context.Context, worker string, jobs int) error {
	return d.until(ctx, func(t *fleet.Tail) bool { return len(t.OpenOf(worker)) >= jobs })
}

// begunAgain waits until others than worker a run so many jobs that were begun before.
func (d *demo) begunAgain(ctx context.Context, jobs int) error {
	return d.until(ctx, func(t *fleet.Tail) bool {
		n := 0
		for _, run := range t.Open() {
			if run.Worker != "a" && t.Starts[run.Op] > 1 {
				n++
			}
		}
		return n >= jobs
	})
}

// fault remembers that the runs of worker a may end early or come again from now until the returned function is called.
func (d *demo) fault() (over func()) {
	at := record.Now()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.kills = append(d.kills, record.Kill{At: at, Until: record.Now(), Worker: "a"})
	}
}

// cutOff holds back everything between worker a and the server.
func cutOff(ctx context.Context, d *demo) error {
	if err := d.begunBy(ctx, "a", 20); err != nil {
		return err
	}
	over := d.fault()
	d.screen.event("worker a is cut off: nothing comes through, in either direction")
	a := d.host("a").proxy
	a.Hold(fleet.Up, fleet.Down)
	if err := sleep(ctx, 9*time.Second); err != nil {
		return err
	}
	a.Release()
	d.screen.event("worker a is back")
	if err := sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	over()
	return nil
}

// lateDeletes holds back what worker a sends beyond its lease: the deletes of jobs that finished meanwhile come when
// others run these very jobs again. The jobs are short, or they would be killed before they finish, when a's session ends.
func lateDeletes(ctx context.Context, d *demo) error {
	m, double, err := d.doubling()
	if err != nil {
		return err
	}
	defer m.Close()
	for range 3 {
		if err := d.begunBy(ctx, "a", d.plan.slots()/4); err != nil || d.allDone() {
			return err
		}
		over := d.fault()
		d.screen.event("what worker a sends is held back")
		a := d.host("a").proxy
		a.Hold(fleet.Up)
		if err := d.begunAgain(ctx, 4); err != nil {
			return err
		}
		a.Release()
		d.screen.event("what worker a sent comes through; turns are doubled")
		if err := d.repeat(ctx, 100*time.Millisecond, 3*time.Second, func() error { return double(ctx) }); err != nil {
			return err
		}
		over()
	}
	return nil
}

// blindWatches takes away the watches on the heartbeats again and again, and doubles turns.
func blindWatches(ctx context.Context, d *demo) error {
	m, double, err := d.doubling()
	if err != nil {
		return err
	}
	defer m.Close()
	d.screen.event("the workers do not see each other's heartbeats any more")
	return d.repeat(ctx, 200*time.Millisecond, 20*time.Second, func() error {
		if err := m.BlindWatches(ctx); err != nil {
			return err
		}
		return double(ctx)
	})
}

// stopStubborn stops worker a in the middle of jobs that do not heed SIGTERM.
func stopStubborn(ctx context.Context, d *demo) error {
	for range 2 {
		if err := d.begunBy(ctx, "a", 10); err != nil || d.allDone() {
			return err
		}
		over := d.fault()
		d.screen.event("worker a is given %s for its jobs to end, and %s from TERM to KILL", d.plan.timeout, d.plan.killAfter)
		if err := d.host("a").drain(ctx); err != nil {
			return err
		}
		over()
	}
	return nil
}

// dropTurns deletes all turns when the audit is through with all jobs.
func dropTurns(ctx context.Context, d *demo) error {
	m, err := fleet.NewMeddler(d.url, queue)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := d.until(ctx, func(t *fleet.Tail) bool { return t.Finished >= 10 }); err != nil {
		return err // the import is over long before
	}
	if err := m.Audited(ctx); err != nil {
		return err
	}
	n, err := m.DropTurns(ctx, nil)
	d.screen.event("the audit has looked at every job; now %d turns are deleted", n)
	return err
}
