// Package limits looks from outside at limits of jobs at once, and at queues that share a worker's slots: real workerds,
// real children that write down when they run, and a count of what ran side by side. Times and shares are printed.
package limits

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// job is a job for e2e/child, or one of another kind.
type job struct {
	Op     int    `json:"op"`
	MS     int    `json:"ms,omitempty"`
	Until  string `json:"until,omitempty"`
	Entity string `json:"-"`
	Kind   string `json:"-"`
}

// system is a rig whose record is counted while it grows.
type system struct {
	*rig.Rig
	t     *testing.T
	ops   int
	kinds map[int]string // by op
	most  map[string]int // the most that ever ran at once, by what
	by    map[string]int // starts, by worker
}

func newSystem(t *testing.T, flags ...string) *system {
	s := &system{Rig: rig.New(t, flags...), t: t, kinds: map[int]string{}, most: map[string]int{}, by: map[string]int{}}
	s.Tail.On = func(e record.Event) {
		if e.What != record.Start {
			return
		}
		s.by[e.Worker]++
		for what, n := range s.running() {
			s.most[what] = max(s.most[what], n)
		}
	}
	return s
}

// running counts what runs now: in all, by type of entity and by kind.
func (s *system) running() map[string]int {
	n := map[string]int{}
	for _, e := range s.Tail.Open() {
		typ, _, _ := strings.Cut(e.Entity, ".")
		n["queue"]++
		n["type:"+typ]++
		n["kind:"+s.kinds[e.Op]]++
	}
	return n
}

// publish stores jobs in a queue; those that leave a record are expected to finish.
func (s *system) publish(queue string, jobs ...job) {
	s.t.Helper()
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, j := range jobs {
		s.ops++
		j.Op = s.ops
		s.kinds[j.Op] = j.Kind
		if j.Kind != failing {
			s.Expect(record.Job{Op: j.Op, Entity: j.Entity})
		}
		line := map[string]any{"entity": j.Entity, "data": j}
		if j.Kind != "" {
			line["kind"] = j.Kind
		}
		if err := enc.Encode(line); err != nil {
			s.t.Fatal(err)
		}
	}
	file := s.Path("jobs." + fmt.Sprint(s.ops) + ".jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.Coordinator("job", "import", queue, file)
}

// failing is the kind of jobs that fail.
const failing = "failing"

// failPool runs jobs that fail at once.
func failPool(concurrency int) fleet.Pool {
	return fleet.Pool{Name: "fail", Kinds: []string{failing}, Mode: "exec", Command: []string{"/bin/sh", "-c", "exit 75"}, Concurrency: concurrency}
}

// awaitRunning waits until exactly so many jobs run.
func (s *system) awaitRunning(n int) {
	s.t.Helper()
	s.Await(fmt.Sprintf("%d jobs run", n), rig.Bound, func(t *fleet.Tail) bool { return len(t.Open()) == n })
}

// stays reads the record for a while and fails when more than n jobs run at once: for what must not happen there is no
// event to wait for.
func (s *system) stays(n int, span time.Duration) {
	s.t.Helper()
	end := time.Now().Add(span)
	s.Await("a while", rig.Bound, func(t *fleet.Tail) bool {
		if got := len(t.Open()); got > n {
			s.t.Fatalf("%d jobs run at once, not %d", got, n)
		}
		return time.Now().After(end)
	})
}

// awaitSaid waits until every worker has said something so many times.
func (s *system) awaitSaid(message string, times int) {
	s.t.Helper()
	for _, h := range s.Hosts() {
		s.Await(h.Name+" says: "+message, rig.Bound, func(*fleet.Tail) bool {
			n := 0
			_, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool {
				if l.Message == message {
					n++
				}
				return false
			})
			if err != nil {
				s.t.Fatal(err)
			}
			return n >= times
		})
	}
}

// lanes are one job each of so many entities.
func lanes(n int, typ string, j job) (jobs []job) {
	for i := range n {
		j.Entity = fmt.Sprintf("%s.%d", typ, i)
		jobs = append(jobs, j)
	}
	return jobs
}
