package limits

import (
	"strings"
	"testing"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// A worker of two queues with weights starts their jobs in that proportion while both have some, and all of one when the
// other has none.
func TestQueuesByWeight(t *testing.T) {
	jobs := rig.Size(400, 2000)
	s := newSystem(t)
	s.Admin.URLFor = nil // a queue more than the rig's rights know
	const other = "mail"
	s.Coordinator("queue", "add", other)
	h := s.Host("a", s.SleepPool(1, 8))
	h.URL = s.Server.URL()
	h.Weights = map[string]int{rig.Queue: 3, other: 1}
	counts := map[string]int{}
	var order []string
	count := s.Tail.On
	s.Tail.On = func(e record.Event) {
		count(e)
		if e.What == record.Start {
			typ, _, _ := strings.Cut(e.Entity, ".")
			counts[typ]++
			order = append(order, typ)
		}
	}
	s.publish(rig.Queue, lanes(jobs, "heavy", job{MS: 10})...)
	s.publish(other, lanes(jobs, "light", job{MS: 10})...)
	h.Start()
	s.Await("the heavy queue is nearly empty", 2*rig.Bound, func(*fleet.Tail) bool { return counts["heavy"] >= jobs*9/10 })
	heavy, light := 0, 0
	for _, typ := range order {
		if typ == "heavy" {
			if heavy++; heavy == jobs*9/10 {
				break
			}
		} else {
			light++
		}
	}
	share := float64(heavy) / float64(heavy+light)
	t.Logf("weights 3 and 1: %d and %d starts while both had jobs, %.1f%% and %.1f%%", heavy, light, 100*share, 100-100*share)
	if share < .65 || share > .85 {
		t.Errorf("the share of the queue of weight 3 is %.2f", share)
	}
	s.AwaitFinished(2*jobs, 2*rig.Bound)
	s.Check()
}
