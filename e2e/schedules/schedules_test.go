package schedules

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/schedule"
)

// scheduleTime is the time of a run, which its headers tell.
func scheduleTime(_ string, h nats.Header) time.Time {
	at, _ := time.Parse(time.RFC3339Nano, h.Get(schedule.HeaderTime))
	return at
}

// A cron of every second, five workerds, of which one is killed every so often: each second fires once. The small size is
// for any host: its times are five seconds apart, because one that is late by as much as the next one is a missed one.
func TestCronWhileWorkersDie(t *testing.T) {
	firings, every := rig.Size(5, 60), rig.Size(3*time.Second, 10*time.Second)
	cron, apart := rig.Size("*/5 * * * * *", "* * * * * *"), rig.Size(5*time.Second, time.Second)
	r := rig.New(t, "--lease", "5s")
	hosts := make([]*rig.Host, 5)
	for i := range hosts {
		hosts[i] = r.Host(fmt.Sprint("w", i), shell(r)).Start()
	}
	w := watch(t, r, scheduleTime)
	r.Coordinator("schedule", "add", rig.Queue, "tick", "clock.1", "--cron", cron)
	kills, last := 0, time.Now()
	until(t, fmt.Sprint(firings, " firings"), func() bool {
		if time.Since(last) > every {
			last = time.Now()
			h := hosts[kills%len(hosts)]
			h.Kill()
			h.Start()
			kills++
		}
		return len(w.all()) >= firings
	})
	r.Coordinator("schedule", "pause", rig.Queue, "tick")
	js := r.Server.JetStream()
	var s schedule.Schedule
	until(t, "a time that was begun before the pause is over, and the last one was heard of", func() bool {
		var err error
		if s, err = schedule.Get(t.Context(), js, queue, "tick"); err != nil {
			t.Fatal(err)
		}
		return s.Pending == nil && s.Runs <= uint64(len(w.all()))
	})
	until(t, "all have run", func() bool { return len(runs(t, r)) >= len(w.all()) })

	all := w.all()
	var first, final time.Time
	seen := map[time.Time]bool{}
	for _, f := range all {
		if f.at.IsZero() || f.at.Nanosecond() != 0 || seen[f.at] {
			t.Errorf("%s for %v: no time, or one that was before", f.id, f.at)
		}
		seen[f.at] = true
		if f.stored.Before(f.at) {
			t.Errorf("%s was %v early", f.id, f.at.Sub(f.stored))
		}
		if first.IsZero() || f.at.Before(first) {
			first = f.at
		}
		if f.at.After(final) {
			final = f.at
		}
	}
	want := int(final.Sub(first)/apart) + 1
	p50, p99, most := lateness(all)
	t.Logf("%d firings of %d, %s apart, %d workerds, %d killed; late: p50 %s, p99 %s, at most %s",
		len(all), want, apart, len(hosts), kills, p50.Round(time.Millisecond), p99.Round(time.Millisecond), most.Round(time.Millisecond))
	if len(all) != want || s.Runs != uint64(len(all)) || s.Skipped != 0 || len(runs(t, r)) != len(all) {
		t.Errorf("%d firings and %d runs for %d times; recorded are %+v", len(all), len(runs(t, r)), want, s)
	}
}

// Delayed jobs come due all the time while one of three workerds after another is killed, with due jobs in hand or about
// to get some: each comes once, and none early.
func TestDelaysWhileWorkersDie(t *testing.T) {
	delays, span := rig.Size(100, 2000), rig.Size(6*time.Second, 40*time.Second)
	r := rig.New(t, "--lease", "5s")
	hosts := []*rig.Host{r.Host("a", shell(r)).Start(), r.Host("b", shell(r)).Start(), r.Host("c", shell(r)).Start()}
	due := map[string]time.Time{}
	w := watch(t, r, func(id string, _ nats.Header) time.Time { return due[id] })
	w.mu.Lock() // until due is complete
	js := r.Server.JetStream()
	for i := range delays {
		d, err := schedule.Publish(t.Context(), js, queue, entityOf(t, i), streams.PublishOptions{ID: fmt.Sprint("d", i)},
			schedule.When{In: 2*time.Second + time.Duration(i)*span/time.Duration(delays)})
		if err != nil {
			t.Fatal(err)
		}
		due[d.ID] = d.DueAt
	}
	w.mu.Unlock()
	kills := 0
	until(t, "all are stored", func() bool {
		if len(w.all()) < delays {
			time.Sleep(time.Second)
			h := hosts[kills%len(hosts)]
			h.Kill()
			h.Start()
			kills++
		}
		return len(w.all()) >= delays
	})
	awaitDone(t, r)
	seen := map[string]bool{}
	for _, f := range w.all() {
		if f.at.IsZero() || seen[f.id] {
			t.Errorf("%s twice", f.id)
		}
		seen[f.id] = true
		if f.stored.Before(f.at) {
			t.Errorf("%s was %v early", f.id, f.at.Sub(f.stored))
		}
	}
	p50, p99, most := lateness(w.all())
	t.Logf("%d delayed jobs, %d workerds, %d killed; late: p50 %s, p99 %s, at most %s",
		len(w.all()), len(hosts), kills, p50.Round(time.Millisecond), p99.Round(time.Millisecond), most.Round(time.Millisecond))
}

// The server and all workers are killed and started again, while delayed jobs and schedules are pending: each fires once,
// none early, and what was missed of a recurring one fires once.
func TestEverythingRestarts(t *testing.T) {
	delays := rig.Size(30, 200)
	r := rig.New(t, "--lease", "5s")
	hosts := []*rig.Host{r.Host("a", shell(r)).Start(), r.Host("b", shell(r)).Start()}
	due := map[string]time.Time{}
	w := watch(t, r, func(id string, h nats.Header) time.Time {
		if at, ok := due[id]; ok {
			return at
		}
		return scheduleTime(id, h)
	})
	w.mu.Lock() // until due is complete
	js := r.Server.JetStream()
	for i := range delays {
		e := entityOf(t, i)
		d, err := schedule.Publish(t.Context(), js, queue, e, streams.PublishOptions{ID: fmt.Sprint("d", i)},
			schedule.When{In: 3*time.Second + time.Duration(i)*6*time.Second/time.Duration(delays)})
		if err != nil {
			t.Fatal(err)
		}
		due[d.ID] = d.DueAt
		if i%5 == 0 {
			at := d.DueAt.Add(333 * time.Millisecond)
			n := schedule.New{Name: fmt.Sprint("once", i), Entity: e, Spec: schedule.Spec{At: at}}
			if _, _, err := schedule.Add(t.Context(), js, queue, n); err != nil {
				t.Fatal(err)
			}
			due[fmt.Sprintf("once%d-%s", i, at.UTC().Format("20060102T150405.000000000Z"))] = at
		}
	}
	w.mu.Unlock()
	r.Coordinator("schedule", "add", rig.Queue, "every", "clock.1", "--every", "1s")

	for range 3 {
		time.Sleep(time.Second) // any moment is as good as another
		for _, h := range hosts {
			h.Kill()
		}
		r.Server.Kill()
		time.Sleep(time.Second)
		r.Server.Restart()
		for _, h := range hosts {
			h.Start()
		}
	}
	r.Coordinator("schedule", "rm", rig.Queue, "every")
	awaitDone(t, r)

	// What ran is told by the jobs themselves; the watcher may have missed a job while the server was away.
	times := map[string]int{}
	for _, id := range runs(t, r) {
		times[id]++
	}
	for id := range due {
		if times[id] != 1 {
			t.Errorf("%s was stored and run as %d jobs", id, times[id])
		}
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was stored and run as %d jobs", id, n)
		}
	}
	for _, f := range w.all() {
		if f.stored.Before(f.at) {
			t.Errorf("%s was %v early", f.id, f.at.Sub(f.stored))
		}
	}
	p50, p99, most := lateness(w.all())
	t.Logf("%d delayed jobs and schedules, and %d runs of one of every second; the server and 2 workerds killed 3 times, for a second; late: p50 %s, p99 %s, at most %s",
		len(due), len(times)-len(due), p50.Round(time.Millisecond), p99.Round(time.Millisecond), most.Round(time.Millisecond))
}
