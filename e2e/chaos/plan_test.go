package chaos

import (
	"reflect"
	"testing"
	"time"
)

// A seed is one plan, and another seed another one.
func TestPlanIsItsSeeds(t *testing.T) {
	s := Shape{Servers: 3, Workers: 3, Length: time.Minute}
	if !reflect.DeepEqual(Plan(1, s), Plan(1, s)) {
		t.Error("one seed made two plans")
	}
	if reflect.DeepEqual(Plan(1, s), Plan(2, s)) {
		t.Error("two seeds made one plan")
	}
}

// What a plan promises holds for many seeds, and all kinds of faults come up.
func TestPlan(t *testing.T) {
	for _, servers := range []int{1, 3} {
		seen := map[Kind]int{}
		for seed := range uint64(100) {
			s := Shape{Servers: servers, Workers: 3, Length: 3 * time.Minute}
			busy := map[[2]int]time.Duration{} // until when a server, or a worker, has its fault
			var away, before time.Duration
			for _, f := range Plan(seed, s) {
				seen[f.Kind]++
				if f.At < before || f.At < 0 || f.For < 0 || f.At+f.For > s.Length {
					t.Fatalf("seed %d: %s", seed, f)
				}
				before = f.At
				if f.Kind.OfServers() {
					if f.At < away {
						t.Fatalf("seed %d: %s, while another server is away", seed, f)
					}
					away = f.At + f.For
					if f.Server >= servers || f.Office >= offices || servers == 1 && f.Office != Nobody {
						t.Fatalf("seed %d: %s", seed, f)
					}
					continue
				}
				who := [2]int{f.Worker, 0}
				if f.Kind == TurnsPurge || f.Kind == TurnsRemove || f.Kind == Blind {
					who = [2]int{0, 1}
				}
				if f.Worker >= s.Workers || f.At < busy[who] {
					t.Fatalf("seed %d: %s", seed, f)
				}
				busy[who] = f.At + f.For
			}
		}
		for _, k := range Kinds() {
			possible := k != Ended && (servers > 1 || !k.OfServers() || k == ServerKill || k == ServerStop)
			if (seen[k] > 0) != possible {
				t.Errorf("%d servers: %q was planned %d times", servers, k, seen[k])
			}
		}
	}
}
