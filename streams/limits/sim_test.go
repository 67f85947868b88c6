package limits

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", 3, "histories of each profile")
	seed  = flag.Int("seed", 0, "play this one alone")
)

func anybody(int, *simLane) bool { return true }

// mixed are lanes of a few types and kinds.
func mixed(n, types, kinds int) (lanes []simLane) {
	for i := range n {
		lanes = append(lanes, simLane{typ: fmt.Sprint("t", i%types), kind: fmt.Sprint("k", i/types%kinds)})
	}
	return lanes
}

// own are lanes of which each worker serves only some, by kind.
func own(node int, l *simLane) bool { return l.kind == fmt.Sprint("k", node) }

func profiles() []profile {
	base := profile{
		nodes: 3, slots: 10, span: 90 * time.Second, calm: 60 * time.Second, job: time.Second, pause: 50 * time.Millisecond,
		loss: .02, late: 3 * time.Second, stale: 4 * time.Second, serves: anybody, patient: 5 * time.Second,
	}
	var all []profile
	with := func(name string, f func(p *profile)) {
		p := base
		p.name = name
		f(&p)
		all = append(all, p)
	}
	with("steady", func(p *profile) {
		p.limits, p.lanes, p.nothing = map[string]int{Queue: 5}, mixed(40, 1, 1), .5
		p.hungry = 10 * time.Second
	})
	with("deaths", func(p *profile) {
		p.nodes, p.limits, p.lanes = 4, map[string]int{Queue: 6, Kind("k0"): 2, Type("t1"): 3}, mixed(40, 2, 3)
		p.kill, p.cut, p.stop = 8*time.Second, 5*time.Second, 15*time.Second
	})
	with("changes", func(p *profile) {
		p.limits, p.lanes = map[string]int{Queue: 8, Kind("k0"): 3}, mixed(30, 1, 2)
		p.change, p.kill, p.job = 10*time.Second, 30*time.Second, 4*time.Second
		p.calm = 90 * time.Second
	})
	with("long", func(p *profile) { // limits come and go under jobs that outlast them
		p.limits, p.lanes = map[string]int{Queue: 8}, mixed(30, 1, 1)
		p.change, p.job, p.span = 15*time.Second, 60*time.Second, 5*time.Minute
		p.calm = 2 * time.Minute
	})
	with("scarce", func(p *profile) { // fewer permits than workers, each with lanes of its own
		p.nodes, p.limits, p.lanes, p.serves = 4, map[string]int{Queue: 2}, mixed(24, 1, 4), own
		p.job, p.hungry, p.cut = 300*time.Millisecond, 15*time.Second, 20*time.Second
	})
	with("crossed", func(p *profile) { // jobs that need several scarce permits at once
		p.nodes, p.limits = 4, map[string]int{Queue: 3, Kind("k0"): 1, Kind("k1"): 1, Type("t0"): 1, Type("t1"): 2}
		p.lanes, p.job = mixed(12, 2, 2), 200*time.Millisecond
	})
	with("few", func(p *profile) { // hardly anything to do, and long pauses
		p.nodes, p.limits, p.lanes = 3, map[string]int{Queue: 3, Type("t0"): 2}, mixed(5, 1, 1)
		p.pause, p.job, p.stop = 3*time.Second, 500*time.Millisecond, 20*time.Second
	})
	with("uneven", func(p *profile) { // one worker could use all permits, the others hardly ever any
		p.limits, p.serves, p.pause = map[string]int{Queue: 3}, own, 10*time.Second
		for i := range 42 {
			p.lanes = append(p.lanes, simLane{typ: "t", kind: fmt.Sprint("k", max(i-39, 0))})
		}
	})
	with("churned", func(p *profile) { // lanes that wait for a permit of their kind must not keep those of the queue from others
		p.nodes, p.limits, p.serves, p.nothing, p.patient = 2, map[string]int{Queue: 6, Kind("k0"): 1}, own, .1, 12*time.Second
		for i := range 60 {
			p.lanes = append(p.lanes, simLane{typ: "t", kind: fmt.Sprint("k", i%2)})
		}
	})
	return all
}

// With all rules on nothing may go wrong, whatever is lost, late or dead.
func TestSeeds(t *testing.T) {
	for _, p := range profiles() {
		t.Run(p.name, func(t *testing.T) {
			var sum simStats
			from, to := 1, *seeds
			if *seed > 0 {
				from, to = *seed, *seed
			}
			for s := from; s <= to; s++ {
				stats, err := runSim(p, uint64(s))
				if err != nil {
					t.Fatal(err)
				}
				sum.add(stats)
			}
			t.Logf("%d histories, %d steps: %d starts, %d documents, %d refusals, %d sessions, %d kills, %d cuts, %d changes; "+
				"longest that a lane waited beside free room %v, that a worker had nothing to run beside lanes of its own %v",
				to-from+1, sum.steps, sum.starts, sum.writes, sum.refused, sum.sessions, sum.kills, sum.cuts, sum.changes,
				sum.waste.Round(time.Millisecond), sum.hunger.Round(time.Millisecond))
		})
	}
}

// breaking is the profile under which the absence of a rule soon shows.
func breaking(r Rule) string {
	switch r {
	case RuleWriteDown:
		return "long"
	case RuleGive:
		return "scarce"
	case RuleGiveBack:
		return "uneven"
	case RuleShareCAS, RuleSentIsGone, RuleOnlyDead, RuleOnlyStored:
	}
	return "deaths"
}

// Each rule is needed: with it off some history goes wrong.
func TestBrokenRulesAreFound(t *testing.T) {
	for r := range ruleCount {
		t.Run(r.String(), func(t *testing.T) {
			for _, p := range profiles() {
				if p.name != breaking(r) {
					continue
				}
				p.broken = Break(r)
				for s := uint64(1); s <= 60; s++ {
					if _, err := runSim(p, s); err != nil {
						t.Logf("found with seed %d: %.180s", s, err)
						return
					}
				}
			}
			t.Error("nobody noticed")
		})
	}
}
