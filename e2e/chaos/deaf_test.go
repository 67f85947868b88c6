package chaos

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// A worker whose server is cut off from the others has a connection that looks well, and nobody who stores anything. It
// goes to another server, and its jobs go on while the cut lasts.
func TestLeavesAServerThatIsCutOff(t *testing.T) {
	t.Parallel()
	r := rig.NewCluster(t, 3, "--replicas", "3", "--lease", "6s")
	h := r.Host("a", r.SleepPool(1, 16))
	ways := r.Proxied(h)
	for _, way := range ways[1:] { // so that it goes to the first
		way.Hold(fleet.Up, fleet.Down)
	}
	h.Start()
	for _, way := range ways[1:] {
		way.Release()
	}
	r.Lead(1, rig.Rafts()...)
	var jobs []rig.Job
	for i := range 10 {
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("e.%d", i), MS: 50})
	}
	r.Import(jobs...)
	r.AwaitFinished(len(jobs), rig.Bound)
	at := record.Now()
	r.Apart(0)
	nc, err := nats.Connect(r.Servers[1].URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for op := 11; op <= 20; op++ {
		store(t, r, nc, rig.Job{Op: op, Entity: fmt.Sprintf("e.%d", op)})
	}
	r.AwaitFinished(2*len(jobs), rig.Bound)
	t.Logf("jobs ran again %s after the cut", round(time.Duration(record.Now()-at)))
	r.Together(0, false)
	r.Fault(record.Kill{At: at, Until: record.Now() + int64(15*time.Second)})
	r.AwaitEmpty(rig.Bound)
	r.Check()
}
