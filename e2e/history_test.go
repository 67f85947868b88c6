package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/examples/history"
)

// operations is the beginning of the history, or all of it.
func operations(t *testing.T, quick, full int) []history.Op {
	t.Helper()
	ops, err := history.All()
	if err != nil {
		t.Fatal(err)
	}
	return ops[:min(rig.Size(quick, full), len(ops))]
}

// replayers starts workerds of 16 slots that replay the history.
func replayers(r *rig.Rig, n int) (hosts []*rig.Host) {
	for i := range n {
		hosts = append(hosts, r.Host(fmt.Sprintf("w%d", i+1), r.HistoryPool(2, 8, 5*time.Millisecond)).Start())
	}
	return hosts
}

func sameState(t *testing.T, r *rig.Rig, ops []history.Op) (files int) {
	t.Helper()
	files, differences, err := history.Compare(r.Path("state"), ops)
	if err != nil || len(differences) > 0 {
		t.Errorf("final state: %v, %d differences, such as %q", err, len(differences), differences[:min(3, len(differences))])
	}
	return files
}

// A real history comes out as it was, whatever the number of workers.
func TestHistory(t *testing.T) {
	ops := operations(t, 4000, 1<<30)
	for _, workers := range rig.Size([]int{2}, []int{2, 4, 8}) {
		t.Run(fmt.Sprintf("%d workerds", workers), func(t *testing.T) {
			r := rig.New(t)
			replayers(r, workers)
			r.ImportHistory(ops)
			r.AwaitFinished(len(ops), 5*rig.Bound)
			r.AwaitEmpty(rig.Bound)
			rep := r.Check()
			t.Logf("%d workerds of 16 slots: %d jobs, %d entities, %.0f jobs/s, peak %d, %d overlaps, %d out of order, %d run again, %d files as they must be",
				workers, rep.Finished, rep.Entities, rep.JobsPerSecond, rep.Peak, rep.Overlaps, rep.OutOfOrder, rep.Again, sameState(t, r, ops))
		})
	}
}

// The server dies again and again, often within 100 ms after it has handed out turns.
func TestHistoryWithServerKills(t *testing.T) {
	ops := operations(t, 3000, 1<<30)
	kills := rig.Size(3, 12)
	r := rig.New(t)
	replayers(r, 2)
	r.ImportHistory(ops)
	soon, killed := 0, 0
	for i := range kills {
		at := len(ops) * (i + 1) / (kills + 1)
		r.Await("jobs before the next kill", 5*rig.Bound, func(tail *fleet.Tail) bool { return tail.Finished >= at })
		started := time.Now()
		if i%3 != 0 { // at a job's start, and up to 90 ms later
			n := len(r.Tail.Starts)
			r.Await("a start", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Starts) > n || tail.Finished == len(ops) })
			started = time.Now()
			time.Sleep(rand.N(90 * time.Millisecond))
		}
		k := record.Kill{At: record.Now()}
		r.Server.Kill()
		if time.Since(started) < 100*time.Millisecond {
			soon++
		}
		killed++
		if i%4 == 3 {
			time.Sleep(rand.N(time.Second)) // away for a while
		}
		r.Server.Restart()
		k.Until = record.Now()
		r.Fault(k)
	}
	r.AwaitFinished(len(ops), 5*rig.Bound)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	t.Logf("%d SIGKILLs of the server, %d within 100 ms after a start: %d jobs, %.0f jobs/s, %d overlaps, %d out of order, %d run again, %d files as they must be",
		killed, soon, rep.Finished, rep.JobsPerSecond, rep.Overlaps, rep.OutOfOrder, rep.Again, sameState(t, r, ops))
}
