package chaos

import (
	"fmt"
	"testing"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// A queue gets two more copies of everything, and loses them again, while its jobs run: none of them notices.
func TestReplicasOfALiveQueue(t *testing.T) {
	t.Parallel()
	const long = 8
	// With a lease that a slow machine does not outlast: then no job has a reason to run again.
	r := rig.NewCluster(t, 3, "--replicas", "1", "--lease", "30s")
	for _, name := range []string{"a", "b"} {
		h := r.Host(name, r.SleepPool(1, 16))
		r.Proxied(h)
		h.Start()
	}
	var jobs []rig.Job
	for i := range long {
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("long.%d", i), Until: r.Path("end")})
	}
	r.Import(jobs...)
	r.Await("long jobs run", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == long })
	pubs := load{publishers: 3, rate: 30, hot: 2, wide: 20, slow: 1, first: long}.start(r, 1)
	for _, replicas := range []string{"3", "1", "3"} {
		r.Coordinator("queue", "edit", rig.Queue, "--replicas", replicas)
		n := r.Tail.Finished
		r.Await("jobs go on", rig.Bound, func(tail *fleet.Tail) bool { return tail.Finished > n+50 })
		info, err := r.Admin.QueueInfo(t.Context(), rig.Queue)
		if err != nil || fmt.Sprint(info.Replicas) != replicas || len(info.Drift) > 0 {
			t.Fatalf("%d replicas, drift %v, %v", info.Replicas, info.Drift, err)
		}
	}
	all, lost := pubs.end()
	if len(lost) > 0 {
		t.Fatalf("%d jobs were never answered", len(lost))
	}
	r.Touch("end")
	r.AwaitFinished(len(all)+long, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	expected, _, _ := Expect(all, record.Log{})
	r.Expect(expected...)
	rep := r.Check()
	t.Logf("replicas 1, 3, 1, 3 under %d jobs: %d run again, %d cut short, %d overlaps, %d out of order", rep.Finished, rep.Again, rep.Cut, rep.Overlaps, rep.OutOfOrder)
	if rep.Again > 0 || rep.Cut > 0 {
		t.Errorf("%d jobs ran again, %d were cut short", rep.Again, rep.Cut)
	}
}
