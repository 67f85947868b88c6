package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
)

// mostLost is how often a queue of the demo lets a job lose its worker: the policy's default.
const mostLost = 3

// poison kills whatever worker runs the last job, each time, and starts it again. The other jobs are through by then: to
// be beside it three times would be the death of them too.
func poison(ctx context.Context, d *demo) error {
	op := d.ops[len(d.ops)-1].N
	d.mu.Lock()
	d.dead[op] = true
	d.mu.Unlock()
	if err := d.until(ctx, func(t *fleet.Tail) bool { return t.Finished >= len(d.ops)-1 }); err != nil {
		return err
	}
	for n := 1; n <= mostLost+2; n++ {
		victim := ""
		err := d.until(ctx, func(t *fleet.Tail) bool {
			for _, e := range t.Open() {
				if e.Op == op && t.Starts[op] >= n {
					victim = e.Worker
				}
			}
			return victim != "" || time.Since(t.Moved) > 3*d.plan.lease
		})
		if err != nil || victim == "" {
			return err // it does not start any more
		}
		h := d.host(victim)
		d.screen.event("job %d runs, start %d, and takes worker %s with it", op, n, victim)
		if err := h.kill(); err != nil {
			return err
		}
		if err := h.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// poisonDead finds a job that was started after it had lost too many workers.
func poisonDead(_ context.Context, d *demo) ([]string, error) {
	op := d.ops[len(d.ops)-1].N
	switch n := d.tail.Starts[op]; {
	case n > mostLost:
		return []string{fmt.Sprintf("poison: job %d was started %d times; after %d lost workers it must be dead", op, n, mostLost)}, nil
	case n < mostLost:
		return []string{fmt.Sprintf("poison: job %d was started %d times only, not %d", op, n, mostLost)}, nil
	}
	return nil, nil
}

// In dyingJobs so many jobs die in each of so many rounds.
const (
	junk       = 100
	junkRounds = 6
)

// dyingJobs publishes jobs that cannot be used, and holds back the server's answers while they die.
func dyingJobs(ctx context.Context, d *demo) error {
	if err := d.until(ctx, func(t *fleet.Tail) bool { return t.Finished >= 10 }); err != nil {
		return err
	}
	m, err := fleet.NewMeddler(d.url, queue)
	if err != nil {
		return err
	}
	defer m.Close()
	answers := d.host("a").proxy
	over := d.fault()
	for round := range junkRounds {
		var entities []string
		for i := range junk {
			entities = append(entities, fmt.Sprintf("junk.%d-%d", round, i))
		}
		if err := m.Publish("apply", "no operation", entities...); err != nil {
			return err
		}
		// All of them take a few steps, each with an answer: here some are at the move.
		if err := sleep(ctx, time.Duration(5+5*round)*time.Millisecond); err != nil {
			return err
		}
		answers.Hold(fleet.Down)
		d.screen.event("answers to worker a are held back while jobs die")
		if err := sleep(ctx, 2500*time.Millisecond); err != nil {
			return err
		}
		answers.Release()
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	over()
	return nil
}

// deadOnce finds jobs that are dead twice.
func deadOnce(ctx context.Context, d *demo) (found []string, err error) {
	var dead []struct {
		Entity string `json:"entity"`
		ID     string `json:"id"`
	}
	if err := d.admin.JSON(ctx, &dead, "dead", "ls", queue); err != nil {
		return nil, err
	}
	times := map[string]int{}
	for _, j := range dead {
		times[j.Entity]++
	}
	for entity, n := range times {
		if n > 1 {
			found = append(found, fmt.Sprintf("dead twice: the job of %s has %d dead letters", entity, n))
		}
	}
	if len(times) != junk*junkRounds {
		found = append(found, fmt.Sprintf("%d of %d jobs that cannot be used are dead", len(times), junk*junkRounds))
	}
	return found, nil
}

// doubleSeldom doubles turns as often as suits long jobs.
func doubleSeldom(ctx context.Context, d *demo) error {
	m, double, err := d.doubling()
	if err != nil {
		return err
	}
	defer m.Close()
	return d.repeat(ctx, 500*time.Millisecond, 2*time.Minute, func() error { return double(ctx) })
}
