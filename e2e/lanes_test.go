package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

// A lane with very many jobs holds up nobody else.
func TestDeepLane(t *testing.T) {
	r := rig.New(t)
	nc := r.Server.Conn()
	r.Host("w1", r.SleepPool(2, 8)).Start()
	starts := map[int]int64{}
	r.Tail.On = func(e record.Event) {
		if e.What == record.Start && starts[e.Op] == 0 {
			starts[e.Op] = e.T
		}
	}
	others := rig.Size(300, 1000)
	measure := func(round string) (median, p99 time.Duration) {
		published := map[int]int64{}
		for i := range others {
			at := record.Now()
			published[r.Publish(nc, rig.Job{Entity: fmt.Sprintf("%s.%d", round, i), MS: 1})] = at
			time.Sleep(5 * time.Millisecond)
		}
		r.Await("all others started", rig.Bound, func(*fleet.Tail) bool {
			for op := range published {
				if starts[op] == 0 {
					return false
				}
			}
			return true
		})
		var waited []time.Duration
		for op, at := range published {
			waited = append(waited, time.Duration(starts[op]-at))
		}
		return quantile(waited, .5), quantile(waited, .99)
	}
	m1, p1 := measure("before")

	deep := make([]rig.Job, rig.Size(20_000, 100_000))
	for i := range deep {
		deep[i] = rig.Job{Entity: "deep.1", MS: 1, Dead: true} // it is not waited for
	}
	r.Import(deep...)
	first := len(r.Tail.Starts)
	r.Await("the deep lane runs", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Starts) > first+10 })
	m2, p2 := measure("beside")
	info, err := r.Admin.QueueInfo(t.Context(), rig.Queue)
	if err != nil || info.Jobs < 100 {
		t.Fatalf("the deep lane was through before the others: %d jobs left, %v", info.Jobs, err)
	}
	rep := r.Check()
	t.Logf("from publish to start, %d jobs on as many entities: median %s, p99 %s; beside a lane of %d jobs (%d still wait): median %s, p99 %s; %d overlaps, %d out of order",
		others, ms(m1), ms(p1), len(deep), info.Jobs, ms(m2), ms(p2), rep.Overlaps, rep.OutOfOrder)
	if p2 > 10*time.Second {
		t.Errorf("beside the deep lane jobs waited for %s", p2)
	}
}

// No slot idles while a job could run.
func TestWorkConserving(t *testing.T) {
	const workers, slots, jobs, length = 4, 5, 200, 50 * time.Millisecond
	const ideal = jobs / (workers * slots) * length
	r := rig.New(t)
	for i := range workers {
		r.Host(fmt.Sprintf("w%d", i+1), r.SleepPool(1, slots)).Start()
	}
	var spans []time.Duration
	for round := range 3 {
		first, last := int64(0), int64(0)
		r.Tail.On = func(e record.Event) {
			if first == 0 {
				first = e.T
			}
			last = e.T
		}
		batch := make([]rig.Job, jobs)
		for i := range batch {
			batch[i] = rig.Job{Entity: fmt.Sprintf("round%d.%d", round, i), MS: int(length.Milliseconds())}
		}
		r.Import(batch...)
		r.AwaitFinished((round+1)*jobs, rig.Bound)
		spans = append(spans, time.Duration(last-first))
	}
	rep := r.Check()
	t.Logf("%d jobs of %s on %d workerds of %d slots, three times: %s, %s, %s; ideal %s; the best is %.2f times that; peak %d, %d overlaps",
		jobs, length, workers, slots, ms(spans[0]), ms(spans[1]), ms(spans[2]), ideal, quantile(spans, 0).Seconds()/ideal.Seconds(), rep.Peak, rep.Overlaps)
	if best := quantile(spans, 0); best > 10*ideal {
		t.Errorf("the best round took %s, ten times the ideal and more", best)
	}
}
