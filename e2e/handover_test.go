package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// A worker that is told to stop ends its job and hands it over; the other one starts it when the last process of the
// first is gone, and no sooner. The job does not heed SIGTERM every other time.
func TestHandOver(t *testing.T) {
	rounds := rig.Size(6, 20)
	r := rig.New(t)
	hosts := map[string]*rig.Host{}
	for _, name := range []string{"a", "b"} {
		h := r.Host(name, r.SleepExec(4))
		h.Timeout, h.KillAfter = 50*time.Millisecond, 300*time.Millisecond
		hosts[name] = h.Start()
	}
	var last record.Event // the last start
	r.Tail.On = func(e record.Event) {
		if e.What == record.Start {
			last = e
		}
	}
	end := r.Path("end")
	r.Import(rig.Job{Entity: "e.1", Until: end})
	r.Await("the first start", rig.Bound, func(*fleet.Tail) bool { return last.T != 0 })

	var spans []time.Duration
	for i := range rounds {
		from := last
		h := hosts[from.Worker]
		at := record.Now()
		h.Signal(syscall.SIGTERM)
		died := awaitDeath(t, from.PID)
		r.Await("the start on the other worker", rig.Bound, func(*fleet.Tail) bool { return last.T != from.T })
		if last.Worker == from.Worker {
			t.Fatalf("round %d: worker %s started it again", i, last.Worker)
		}
		r.Fault(record.Kill{At: at, Until: last.T, Worker: from.Worker})
		spans = append(spans, time.Duration(last.T-died))
		if err := h.Proc.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		h.Pools[0].Env["CHILD_STUBBORN"] = map[bool]string{true: "1", false: ""}[i%2 == 0]
		h.Start()
	}
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitFinished(1, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	t.Logf("from the death of the last process on one worker to the start on the other, %d times: median %s, longest %s; %d overlaps, %d starts",
		rounds, ms(quantile(spans, .5)), ms(quantile(spans, 1)), rep.Overlaps, rep.Runs)
	if rep.Runs != rounds+1 {
		t.Errorf("%d starts in %d rounds", rep.Runs, rounds)
	}
}

// awaitDeath waits until a process is gone and returns the time at which it was last seen.
func awaitDeath(t *testing.T, pid int) (seen int64) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		now := record.Now()
		if !fleet.Lives(pid) {
			return now
		}
	}
	t.Fatalf("process %d does not end", pid)
	return 0
}
