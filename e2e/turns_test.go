package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
)

// auditDelay is how long a job is left alone before the audit looks at it.
const auditDelay = 5 * time.Second

// Turns that wait are deleted behind the system's back: every lane gets another one.
func TestWaitingTurnsDeleted(t *testing.T) {
	const lease = 20 * time.Second // which a slow machine does not outlast: nothing is killed here
	lanes := rig.Size(300, 1000)
	r := rig.New(t, "--lease", lease.String())
	for _, name := range []string{"a", "b"} {
		r.Host(name, r.SleepPool(1, 8)).Start()
	}
	// All slots are taken, so that turns wait.
	gate := r.Path("gate")
	blockers := make([]rig.Job, 16)
	for i := range blockers {
		blockers[i] = rig.Job{Entity: fmt.Sprintf("blocker.%d", i), Until: gate}
	}
	r.Import(blockers...)
	r.Await("all slots taken", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == len(blockers) })
	jobs := make([]rig.Job, lanes)
	for i := range jobs {
		jobs[i] = rig.Job{Entity: fmt.Sprintf("lane.%d", i), MS: 1}
	}
	r.Import(jobs...)
	deleted, err := r.Meddler().DropTurns(t.Context(), func(entity string) bool { return strings.HasPrefix(entity, "lane.") })
	if err != nil || deleted < lanes/2 {
		t.Fatalf("%d turns deleted, %v", deleted, err)
	}
	at := time.Now()
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitFinished(len(blockers)+lanes, rig.Bound)
	took := time.Since(at)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	bound := auditDelay + lease + 10*time.Second
	t.Logf("%d waiting turns deleted: all lanes ran within %s (audit delay + lease + 10 s is %s), %d overlaps", deleted, ms(took), bound, rep.Overlaps)
	if took > 3*bound {
		t.Errorf("the last lane ran after %s", took)
	}
}

// Turns that are held are deleted under long jobs: nothing starts beside them, and what waits behind them runs later.
func TestHeldTurnsDeleted(t *testing.T) {
	const lease, lanes = 20 * time.Second, 20
	length := rig.Size(8*time.Second, 60*time.Second)
	r := rig.New(t, "--lease", lease.String())
	for _, name := range []string{"a", "b", "c"} {
		r.Host(name, r.SleepPool(1, 16)).Start()
	}
	var jobs, behind []rig.Job
	for i := range lanes {
		entity := fmt.Sprintf("lane.%d", i)
		jobs = append(jobs, rig.Job{Entity: entity, MS: int(length.Milliseconds())})
		behind = append(behind, rig.Job{Entity: entity, MS: 1})
	}
	r.Import(jobs...)
	r.Await("all long jobs started", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == lanes })
	at, deleted := time.Now(), 0
	m := r.Meddler()
	for range 3 { // some come back, and are deleted again
		n, err := m.DropTurns(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		deleted += n
		time.Sleep(500 * time.Millisecond)
	}
	r.Import(behind...)
	r.AwaitFinished(2*lanes, length+rig.Bound)
	took := time.Since(at)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	bound := length + auditDelay + lease + 10*time.Second
	t.Logf("%d held turns deleted under %d jobs of %s: all through after %s, %d overlaps, %d out of order", deleted, lanes, length, ms(took), rep.Overlaps, rep.OutOfOrder)
	if took > 3*bound {
		t.Errorf("the last lane was through after %s", took)
	}
}
