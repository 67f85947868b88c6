package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// A host is gone at once, with guardian, engine and jobs: its lanes run elsewhere when its lease is over, and a little later.
func TestHostLoss(t *testing.T) {
	const (
		lease, jobs = 6 * time.Second, 6
		// promised is what the docs say; slack is for machines that are busy with other tests.
		promised, slack = lease + 5*time.Second, 10 * time.Second
	)
	r := rig.New(t, "--lease", lease.String(), "--max-lost", "0")
	var starts []record.Event
	r.Tail.On = func(e record.Event) {
		if e.What == record.Start {
			starts = append(starts, e)
		}
	}
	onto := func(worker string, from int64) (last int64) {
		t.Helper()
		r.Await(fmt.Sprintf("%d jobs run on %s", jobs, worker), rig.Bound, awaitStarts(&starts, worker, from, jobs, &last))
		return last
	}
	hosts := []*rig.Host{r.Host("a", r.SleepExec(jobs)), r.Host("b", r.SleepPool(2, jobs))}
	hosts[0].Start()
	var list []rig.Job
	for i := range jobs {
		list = append(list, rig.Job{Entity: fmt.Sprintf("e.%d", i), Until: r.Path("end")})
	}
	r.Import(list...)
	onto("a", 0)
	rounds := rig.Rounds(t, rig.Size(1, 10))
	var took []time.Duration
	for i := range rounds {
		lost, other := hosts[i%2], hosts[(i+1)%2]
		other.Start()
		at := record.Now()
		lost.Kill()
		took = append(took, time.Duration(onto(other.Name, at)-at))
	}
	if err := os.WriteFile(r.Path("end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitFinished(jobs, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	t.Logf("%d hosts lost with %d jobs each, lease %v: all jobs ran elsewhere after %v (median), %v at most; %d overlaps",
		rounds, jobs, lease, ms(quantile(took, .5)), ms(quantile(took, 1)), rep.Overlaps)
	if rep.Runs != jobs*(rounds+1) {
		t.Errorf("%d runs", rep.Runs)
	}
	if longest := quantile(took, 1); longest > promised+slack {
		t.Errorf("it took %v, and %v are promised", longest, promised)
	}
}
