package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams/lane"
)

// claims reads along in all that is written into the queue's claims.
type claims struct {
	sub  *nats.Subscription
	over chan struct{} // closed when all was read

	mu                sync.Mutex
	written, failures int
	worst             string
}

// readClaims begins to read.
func readClaims(t *testing.T, r *rig.Rig) *claims {
	t.Helper()
	c := &claims{over: make(chan struct{})}
	nc := r.Server.Conn()
	var err error
	if c.sub, err = nc.Subscribe("claims."+rig.Queue+".>", c.read); err != nil {
		t.Fatal(err)
	}
	c.sub.SetClosedHandler(func(string) { close(c.over) })
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return c
}

// end reads to the end, when the workers have stopped: what they wrote last may still be on its way.
func (c *claims) end(t *testing.T) {
	t.Helper()
	if err := c.sub.Drain(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.over:
	case <-time.After(rig.Bound):
		t.Fatal("the claims are not read to their end")
	}
}

func (c *claims) read(m *nats.Msg) {
	rec, err := lane.DecodeRecord(0, m.Data)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written++
	if err != nil || rec.Attempts+rec.Crashes+rec.Memory+rec.Lost > 0 || rec.Dying {
		c.failures++
		c.worst = fmt.Sprintf("%s: %s", m.Subject, m.Data)
	}
}

// idle says how many jobs ran at moments 100 ms apart, and for how long none did at most.
func idle(events []record.Event, from, to int64) (samples, least int, longest time.Duration) {
	const step = int64(100 * time.Millisecond)
	least = 1 << 30
	running, i, none := 0, 0, int64(0)
	for at := from; at <= to; at += step {
		for ; i < len(events) && events[i].T <= at; i++ {
			if events[i].What == record.Start {
				running++
			} else {
				running--
			}
		}
		samples++
		least = min(least, running)
		if none += step; running > 0 {
			none = 0
		}
		longest = max(longest, time.Duration(none))
	}
	return samples, least, longest
}

// inOrder sorts events by their time: a file has them in the order in which they were written.
func inOrder(events []record.Event) []record.Event {
	slices.SortStableFunc(events, func(a, b record.Event) int { return cmp.Compare(a.T, b.T) })
	return events
}

// awaitStarts is reached when so many jobs have started on a worker since from; last is when the last one of them did.
func awaitStarts(starts *[]record.Event, worker string, from int64, n int, last *int64) func(*fleet.Tail) bool {
	return func(*fleet.Tail) bool {
		found := 0
		for _, e := range *starts {
			if e.T > from && e.Worker == worker {
				found++
				*last = max(*last, e.T)
			}
		}
		return found >= n
	}
}

// Four workerds are replaced one after another, round after round, while a real history runs: nothing is counted against
// any job, none is run twice, and there is always one that runs.
func TestRollingRestart(t *testing.T) {
	const ahead = 2500 // jobs that wait at least, so that there is always something to do
	ops := operations(t, 1<<30, 1<<30)
	rounds := rig.Rounds(t, rig.Size(2, 10))
	r := rig.New(t)
	seen := readClaims(t, r)
	var events []record.Event
	r.Tail.On = func(e record.Event) { events = append(events, e) }
	var hosts []*rig.Host
	for i := range 4 {
		hosts = append(hosts, r.Host(fmt.Sprintf("w%d", i+1), r.HistoryPool(2, 8, 120*time.Millisecond)).Start())
	}
	imported := 0
	feed := func() {
		for imported-r.Tail.Finished < ahead && imported < len(ops) {
			more := ops[imported:min(imported+ahead, len(ops))]
			r.ImportHistory(more)
			imported += len(more)
			if err := r.Tail.Poll(); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed()
	r.Await("jobs run", rig.Bound, func(tail *fleet.Tail) bool { return tail.Finished > 100 })
	from := record.Now()
	var stops, starts []time.Duration
	for range rounds {
		for _, h := range hosts {
			feed()
			begun := time.Now()
			h.Stop()
			stops = append(stops, time.Since(begun))
			begun = time.Now()
			back := record.Now()
			h.Start()
			r.Await("the new one works", rig.Bound, func(*fleet.Tail) bool {
				last := events[len(events)-1]
				return last.T > back && last.Worker == h.Name || imported == r.Tail.Finished
			})
			starts = append(starts, time.Since(begun))
		}
	}
	to := record.Now()
	r.AwaitFinished(imported, 5*rig.Bound)
	r.AwaitEmpty(rig.Bound)
	rep := r.Check()
	samples, least, longest := idle(inOrder(events), from, to)
	again := 0
	for _, e := range events {
		if e.What == record.Start && e.Attempt != 1 {
			again++
		}
	}
	seen.end(t)
	seen.mu.Lock()
	defer seen.mu.Unlock()
	t.Logf("%d restarts of 4 workerds in %v: %d jobs, %d overlaps, %d out of order, %d run again; %d claims written, %d with a failure counted",
		len(stops), ms(time.Duration(to-from)), rep.Finished, rep.Overlaps, rep.OutOfOrder, rep.Again, seen.written, seen.failures)
	t.Logf("%d moments 100 ms apart: %d jobs ran at least, none ran for %v at most; a stop took %v (median), %v at most, until the next one worked %v, %v",
		samples, least, longest, ms(quantile(stops, .5)), ms(quantile(stops, 1)), ms(quantile(starts, .5)), ms(quantile(starts, 1)))
	if rep.Again != 0 || rep.Runs != imported || again != 0 {
		t.Errorf("%d runs of %d jobs, %d again, %d that were not the first attempt", rep.Runs, imported, rep.Again, again)
	}
	if seen.failures != 0 || seen.written < imported {
		t.Errorf("%d of %d claims count a failure, such as %s", seen.failures, seen.written, seen.worst)
	}
	// On a machine that has nothing else to do it is a third of a second; where all stands still at times, no worker helps.
	if longest >= 10*time.Second {
		t.Errorf("no job ran for %v", longest)
	}
	if n := sameState(t, r, ops[:imported]); n == 0 {
		t.Error("the history has made no files")
	}
}
