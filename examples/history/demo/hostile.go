package main

import "time"

// hostile are the plans that show the damage which a rule prevents, without luck.
func hostile() map[string]plan {
	base := standard()
	base.shellEvery, base.shells, base.processes, base.concurrency = 0, 0, 4, 8
	with := func(change func(*plan)) plan {
		p := base
		change(&p)
		return p
	}
	return map[string]plan{
		"claim-cas": with(func(p *plan) {
			p.about = "a claim is a compare-and-set. While the jobs run, turns are taken from their holders and doubled."
			p.ops, p.work, p.faults = first(4000), 30*time.Millisecond, doubleTurns
		}),
		"kill-at-end": with(func(p *plan) {
			p.about = "at the end of its session a holder kills its jobs. Worker a is cut off from the server for 9 s, with long jobs."
			p.ops, p.work, p.proxied, p.faults = wide(60, 1), 10*time.Second, true, cutOff
		}),
		"stolen-mark": with(func(p *plan) {
			p.about = "a stolen claim is not released by its job's absence. What worker a says is held back beyond its lease and comes late, three times."
			// Fewer files than the workers have slots: the doubled turns find free ones.
			p.ops, p.work, p.proxied, p.faults = wide(60, 20), 1500*time.Millisecond, true, lateDeletes
			p.workers = []string{"a", "b", "c"}
		}),
		"dead-first": with(func(p *plan) {
			p.about = "a silent session is declared dead by compare-and-set before anything is stolen. The workers' view of each other's heartbeats is taken away, and turns are doubled."
			p.ops, p.work, p.faults = wide(100, 3), 6*time.Second, blindWatches
		}),
		"empty-group": with(func(p *plan) {
			p.about = "a claim is given back only when the job's processes are gone. Worker a is stopped in the middle of jobs that do not heed SIGTERM."
			// Fewer files than one worker has slots: what a gives back b can start at once.
			p.ops, p.work, p.faults = wide(30, 7), 5*time.Second, stopStubborn
			p.shellEvery, p.shells, p.stubborn = 1, 40, true
			p.processes, p.concurrency = 1, 1
			p.timeout, p.killAfter = 500*time.Millisecond, 3*time.Second
		}),
		"sweep": with(func(p *plan) {
			p.about = "every lane gets a turn published now and then. When the audit has looked at all jobs, every turn is deleted."
			p.ops, p.work, p.faults = wide(300, 4), 2*time.Second, dropTurns
		}),
		"steal-count": with(func(p *plan) {
			p.about = "the write that steals a claim counts the loss. One job takes its worker down each time; after three it must be dead."
			p.ops, p.work, p.faults, p.check = wide(30, 1), 200*time.Millisecond, poison, poisonDead
			p.patience = 20 * time.Second
			p.lastShell, p.shells, p.shellWork = true, 1, time.Hour // it must not end by itself
		}),
		"move-ids": with(func(p *plan) {
			p.about = "every move between streams has an id. Answers to worker a are held back for longer than it waits before it asks again, while jobs die."
			p.ops, p.work, p.proxied, p.faults, p.check = wide(20, 20), 200*time.Millisecond, true, dyingJobs, deadOnce
			p.lease = 15 * time.Second // a hiccup of the answers must not end the session
		}),
		"long-claims": with(func(p *plan) {
			p.about = "the claim of a long job is renewed. Jobs take up to 85 s, and turns are doubled: this takes that long."
			p.ops, p.work, p.faults = wide(60, 1), 85*time.Second, doubleSeldom
			p.patience = 2 * time.Minute
		}),
	}
}
