package limits

import (
	"slices"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// otherQueue is one beside the rig's.
const otherQueue = "mail"

// twoQueues is a system with another queue, the worker of which prefers as it is told, and the types of what it starts,
// in order.
func twoQueues(t *testing.T, prefer func(h *rig.Host)) (s *system, h *rig.Host, order *[]string) {
	s = newSystem(t)
	s.Admin.URLFor = nil // a queue more than the rig's rights know
	s.Coordinator("queue", "add", otherQueue)
	h = s.Host("a", s.SleepPool(1, 8))
	h.URL = s.Server.URL()
	prefer(h)
	order = new([]string)
	count := s.Tail.On
	s.Tail.On = func(e record.Event) {
		count(e)
		if e.What == record.Start {
			typ, _, _ := strings.Cut(e.Entity, ".")
			*order = append(*order, typ)
		}
	}
	return s, h, order
}

// beside counts the starts of a type from the first one of both on, up to the n-th, and those of the others among them.
func beside(order []string, typ string, n int) (own, others int) {
	both := map[string]bool{}
	for _, is := range order {
		both[is] = true
		switch {
		case len(both) < 2:
		case is == typ:
			own++
		default:
			others++
		}
		if is == typ {
			if n--; n == 0 {
				break
			}
		}
	}
	return own, others
}

// awaitStarts waits until so many jobs of a type were started.
func (s *system) awaitStarts(typ string, n int, order *[]string) {
	s.t.Helper()
	at, seen := 0, 0
	s.Await("the jobs of "+typ+" are started", 2*rig.Bound, func(*fleet.Tail) bool {
		for ; at < len(*order); at++ {
			if (*order)[at] == typ {
				seen++
			}
		}
		return seen >= n
	})
}

// A worker of two queues with weights starts their jobs in that proportion while both have some, and all of one when the
// other has none.
func TestQueuesByWeight(t *testing.T) {
	jobs := rig.Size(400, 2000)
	s, h, order := twoQueues(t, func(h *rig.Host) { h.Weights = map[string]int{rig.Queue: 3, otherQueue: 1} })
	s.publish(rig.Queue, lanes(jobs, "heavy", job{MS: 10})...)
	s.publish(otherQueue, lanes(jobs, "light", job{MS: 10})...)
	h.Start()
	s.awaitStarts("heavy", jobs*9/10, order)
	heavy, light := beside(*order, "heavy", jobs*9/10)
	share := float64(heavy) / float64(heavy+light)
	t.Logf("weights 3 and 1: %d and %d starts while both had jobs, %.1f%% and %.1f%%", heavy, light, 100*share, 100-100*share)
	if share < .65 || share > .85 {
		t.Errorf("the share of the queue of weight 3 is %.2f", share)
	}
	s.AwaitFinished(2*jobs, 2*rig.Bound)
	s.Check()
}

// A worker of two queues in strict order that is busy with the second one leaves it as soon as the first one has jobs,
// and comes back to it when the first one has none.
func TestQueuesInStrictOrder(t *testing.T) {
	jobs := rig.Size(400, 2000)
	s, h, order := twoQueues(t, func(h *rig.Host) { h.Queues = []string{rig.Queue, otherQueue} })
	s.publish(rig.Queue, lanes(jobs, "first", job{MS: 10})...)
	s.publish(otherQueue, lanes(2*jobs, "second", job{MS: 10})...)
	s.Coordinator("queue", "pause", rig.Queue) // so that all of them wait when it begins
	h.Start()
	s.awaitStarts("second", jobs/4, order)
	s.Coordinator("queue", "resume", rig.Queue)
	s.awaitStarts("first", jobs*9/10, order)
	before := strings.Count(strings.Join((*order)[:slices.Index(*order, "first")], " "), "second")
	first, second := beside(*order, "first", jobs*9/10)
	t.Logf("strict order: %d starts of the second queue, then %d of the first and %d of the second while the first had jobs", before, first, second)
	if second > first/10 {
		t.Errorf("%d of the second queue were started beside %d of the first", second, first)
	}
	s.AwaitFinished(3*jobs, 2*rig.Bound)
	s.Check()
}
