package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
)

// Every leader gives up its office while jobs run, long ones and short ones. The elections are shorter than the margin
// of a session, so no job notices: each runs once.
func TestElectionsInterruptNothing(t *testing.T) {
	t.Parallel()
	const long = 12
	rounds := rig.Size(1, 5)
	r := rig.NewCluster(t, 3, "--replicas", "3", "--lease", "30s") // an election that does not come about at once is repeated after 9 s
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
	nc, every := r.Conn(), r.Everywhere()
	n, downs := 0, 0
	for range rounds {
		for _, g := range rig.Rafts() {
			for i := range 20 {
				n++
				store(t, r, nc, rig.Job{Op: long + n, Entity: fmt.Sprintf("short.%d", i), MS: 20})
			}
			ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
			was := r.Leader(ctx, every, g)
			for heard := false; !heard; { // what is asked while there is no leader is never answered
				one, end := context.WithTimeout(ctx, 5*time.Second)
				err := r.StepDown(one, every, g, -1)
				end()
				if heard = err == nil; !heard && ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			at := time.Now()
			for now := -1; now < 0 && ctx.Err() == nil; {
				now = r.Leader(ctx, every, g)
			}
			cancel()
			t.Logf("%s: a leader again after %s (was %d)", g, time.Since(at).Round(time.Millisecond), was)
			downs++
			r.AwaitFinished(n, rig.Bound)
		}
	}
	r.Await("nothing but the long jobs runs", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == long })
	r.Touch("end")
	r.AwaitFinished(n+long, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	t.Logf("%d step-downs, %d jobs: %d run again, %d cut short, %d overlaps, %d out of order", downs, rep.Finished, rep.Again, rep.Cut, rep.Overlaps, rep.OutOfOrder)
	if rep.Again > 0 || rep.Cut > 0 {
		t.Errorf("%d jobs ran again, %d were cut short", rep.Again, rep.Cut)
	}
}
