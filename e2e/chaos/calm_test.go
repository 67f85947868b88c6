package chaos

import (
	"fmt"
	"testing"

	"github.com/seriatim/seriatim/e2e/rig"
)

// A replicated queue on three servers, when nothing goes wrong.
func TestCalm(t *testing.T) {
	t.Parallel()
	r := rig.NewCluster(t, 3, "--replicas", "3", "--lease", "30s") // which a slow machine does not outlast
	for _, name := range []string{"a", "b"} {
		h := r.Host(name, r.SleepPool(1, 8))
		r.Proxied(h)
		h.Start()
	}
	var jobs []rig.Job
	for i := range 400 {
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("e.%d", i%20), MS: i % 10})
	}
	r.Import(jobs...)
	r.AwaitFinished(len(jobs), rig.Bound)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	t.Logf("\n%s", rep)
	if rep.Again > 0 {
		t.Errorf("%d jobs ran again without a fault", rep.Again)
	}
}
