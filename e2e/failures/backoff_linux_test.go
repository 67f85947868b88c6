package failures

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/proc"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Many lanes that wait for a retry beside lanes that work: those start as soon as they would without, and the workerd
// needs no more memory for what it does not have in hand.
func TestLanesInBackoff(t *testing.T) {
	// Alone: others would be what is measured.
	r := rig.New(t, "--backoff", "1h,1h,1,0")
	s := &scene{Rig: r, t: t, nc: r.Server.Conn()}
	waiting, healthy := rig.Size(1_000, 10_000), rig.Size(100, 1_000)
	jobs := rig.Size(500, 10_000)
	started := map[int]int64{}
	s.Tail.On = func(e record.Event) {
		if e.What == record.Start {
			started[e.Op] = e.T
		}
	}
	h := s.Host("a", s.SleepPool(1, 8)).Start()

	measure := func() []time.Duration {
		t.Helper()
		published := map[int]int64{}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := range jobs {
			<-tick.C // 200 a second
			at := record.Now()
			published[s.quick(fmt.Sprint("healthy.", i%healthy))] = at
		}
		s.await("the healthy ones have run", func() bool {
			for op := range published {
				if started[op] == 0 {
					return false
				}
			}
			return true
		})
		var took []time.Duration
		for op, at := range published {
			took = append(took, time.Duration(started[op]-at))
		}
		return took
	}
	_ = measure() // once to warm up
	without, before := measure(), s.rss(h)
	since := time.Now()
	for i := range waiting {
		m := nats.NewMsg("jobs.q.failing." + fmt.Sprint(i))
		m.Data = []byte("nonsense") // which the child says it cannot read
		if err := s.nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	var info streams.Info
	s.until("all of them wait for their retry", func() bool {
		info = ask[streams.Info](s, "queue", "info", rig.Queue)
		return info.Retrying == waiting
	}, func() any { return info })
	t.Logf("%v until all of them waited", time.Since(since).Round(time.Millisecond))
	filled := s.rss(h)
	with, after := measure(), s.rss(h)

	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	print := func(what string, all []time.Duration) {
		t.Logf("%s: from publish to start p50 %.2f ms, p99 %.2f ms, longest %.2f ms, %d jobs of %d lanes", what, ms(quantile(all, .5)), ms(quantile(all, .99)), ms(quantile(all, 1)), len(all), healthy)
	}
	print("without lanes in backoff", without)
	print(fmt.Sprintf("with %d lanes in backoff", waiting), with)
	t.Logf("ratio p50 %.2f, p99 %.2f", ms(quantile(with, .5))/ms(quantile(without, .5)), ms(quantile(with, .99))/ms(quantile(without, .99)))
	t.Logf("memory of workerd: %d MiB before, %d MiB when they wait, %d MiB after", before>>20, filled>>20, after>>20)
	if limit := 2*before + 64<<20; after > limit {
		t.Errorf("workerd grew from %d to %d bytes", before, after)
	}
	if p50 := quantile(with, .5); p50 > 20*quantile(without, .5)+time.Second {
		t.Errorf("healthy lanes wait %v", p50)
	}
	s.until("nothing else is left", func() bool { // the last healthy ones have just started
		info = ask[streams.Info](s, "queue", "info", rig.Queue)
		return info.Retrying == waiting && info.Jobs == uint64(waiting) && info.Dead == 0
	}, func() any { return info })
	h.Stop()
}

// quick publishes a job of e2e/child, without waiting for the answer, and returns its number.
func (s *scene) quick(entity string) int {
	s.t.Helper()
	s.ops++
	body, err := json.Marshal(rig.Job{Op: s.ops})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.nc.Publish(subjects.Queue(rig.Queue).JobSubject(entityOf(s.t, entity)), body); err != nil {
		s.t.Fatal(err)
	}
	return s.ops
}

// await waits for something in the record.
func (s *scene) await(what string, so func() bool) {
	s.t.Helper()
	s.Await(what, 5*rig.Bound, func(*fleet.Tail) bool { return so() })
}

// rss is what guardian and engine have in memory, without the children.
func (s *scene) rss(h *rig.Host) (bytes int64) {
	s.t.Helper()
	top := h.Proc.PID()
	err := proc.Each(func(p proc.Stat) {
		if p.PID != top && p.PPID != top {
			return
		}
		var size, resident int64
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID))
		if err == nil {
			_, err = fmt.Sscan(string(text), &size, &resident)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		bytes += resident * int64(os.Getpagesize())
	})
	if err != nil || bytes == 0 {
		s.t.Fatal(bytes, err)
	}
	return bytes
}
