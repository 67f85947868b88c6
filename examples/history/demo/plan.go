package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/examples/history"
	"github.com/seriatim/seriatim/streams/lane"
)

// plan is what is replayed, by whom, and what is done to them meanwhile.
type plan struct {
	about string
	// ops chooses from the history. Each file's part must be a beginning of that file's history.
	ops func([]history.Op) []history.Op
	// Each job takes a random time from 0 to work. Every shellEvery-th is run by the script.
	work       time.Duration
	shellEvery int
	// lastShell makes the last job the only one that the script runs, and shellWork its time instead of work.
	lastShell bool
	shellWork time.Duration

	lease   time.Duration
	workers []string
	proxied bool // a proxy stands between each worker and the server
	// Jobs at once in a worker: processes × concurrency, and shells by the script.
	processes, concurrency, shells int
	// stubborn jobs of kind shell do not heed SIGTERM.
	stubborn bool
	// timeout and killAfter bound a worker's stop.
	timeout, killAfter time.Duration

	// faults runs beside the jobs and returns when it has done all; the replay ends no earlier.
	faults func(ctx context.Context, d *demo) error
	// check says what else happened that must not.
	check func(ctx context.Context, d *demo) ([]string, error)
	// patience is how long nothing may move before the rest counts as lost.
	patience time.Duration
}

func (p plan) slots() int { return p.processes*p.concurrency + p.shells }

// standard is what everybody sees: the whole history, one worker deployed anew and one host lost.
func standard() plan {
	return plan{
		ops:  func(all []history.Op) []history.Op { return all },
		work: 5 * time.Millisecond, shellEvery: 20, lease: 5 * time.Second, workers: []string{"a", "b"},
		processes: 3, concurrency: 8, shells: 4, faults: deployAndLose, patience: 30 * time.Second,
	}
}

// deployAndLose stops one worker in order at a third of the jobs, and kills the other one at two thirds.
func deployAndLose(ctx context.Context, d *demo) error {
	if err := d.until(ctx, func(t *fleet.Tail) bool { return t.Finished >= len(d.ops)/3 }); err != nil {
		return err
	}
	if err := d.host("a").drain(ctx); err != nil {
		return err
	}
	if err := d.until(ctx, func(t *fleet.Tail) bool { return t.Finished >= 2*len(d.ops)/3 }); err != nil {
		return err
	}
	b := d.host("b")
	if err := b.kill(); err != nil {
		return err
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	d.screen.event("worker b is started again; what its predecessor held is taken over when that one's lease is over")
	return nil
}

// allDone says that nothing is left to be done, or that nothing moves any more.
func (d *demo) allDone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tail.Finished >= len(d.ops) || time.Since(d.tail.Moved) > d.plan.patience
}

// until waits for something in the record, or for the end of all jobs, or until nothing moves any more.
func (d *demo) until(ctx context.Context, reached func(*fleet.Tail) bool) error {
	for {
		d.mu.Lock()
		now := reached(d.tail)
		d.mu.Unlock()
		if now || d.allDone() {
			return nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// wide takes the first jobs of so many files.
func wide(files, jobs int) func([]history.Op) []history.Op {
	return func(all []history.Op) (ops []history.Op) {
		taken := map[string]int{}
		for _, op := range all {
			if n, known := taken[op.Path]; n < jobs && (known || len(taken) < files) {
				taken[op.Path]++
				ops = append(ops, op)
			}
		}
		return ops
	}
}

// first takes the beginning of the history.
func first(n int) func([]history.Op) []history.Op {
	return func(all []history.Op) []history.Op { return all[:min(n, len(all))] }
}

// planFor is the plan that shows what happens without a rule; "" is the standard one.
func planFor(rule string) (plan, error) {
	if rule == "" {
		return standard(), nil
	}
	if p, ok := hostile()[rule]; ok {
		return p, nil
	}
	var known []string
	for _, r := range lane.AllRules() {
		known = append(known, r.String())
	}
	for name := range strings.SplitSeq(rule, ",") {
		if !slices.Contains(known, name) {
			return plan{}, fmt.Errorf("no rule is named %q; the rules are %s", name, strings.Join(known, ", "))
		}
	}
	p := standard()
	p.about = "what it prevents takes an interleaving too rare for a demo; the standard faults are all that is done"
	return p, nil
}
