package record

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// history is a made-up run of a system that does everything right.
type history struct {
	events []Event
	jobs   []Job
	kills  []Kill
	lanes  map[string][]int // entity: indices in events of its starts, in order
	again  [2]int           // after a kill, after a failure
}

// legal draws a history: lanes side by side, in each lane jobs one after another, each with runs that were killed
// (before or after their finish) or failed before the one that counted.
func legal(t *rapid.T) history {
	h := history{lanes: map[string][]int{}}
	op, pid := 0, 100
	for l := range rapid.IntRange(1, 4).Draw(t, "lanes") {
		entity, now, fence := fmt.Sprintf("e.%d", l), int64(1000), uint64(0)
		step := func(name string) int64 { now += int64(rapid.IntRange(1, 20).Draw(t, name)); return now }
		for range rapid.IntRange(2, 6).Draw(t, "jobs") {
			op++
			h.jobs = append(h.jobs, Job{Op: op, Entity: entity})
			tries := rapid.IntRange(1, 3).Draw(t, "tries")
			for attempt := 1; attempt <= tries; attempt++ {
				fence += uint64(rapid.IntRange(1, 3).Draw(t, "fence"))
				e := Event{PID: pid, Worker: fmt.Sprintf("w%d", pid), Run: Run{Entity: entity, Op: op, Seq: uint64(op), Fence: fence, Attempt: attempt, Locked: true}}
				write := func(what string) { e.T, e.What = step(what), what; h.events = append(h.events, e) }
				h.lanes[entity] = append(h.lanes[entity], len(h.events))
				write(Start)
				if attempt == tries {
					write(Finish)
					break
				}
				switch rapid.SampledFrom([]string{"killed", "killed late", "failed"}).Draw(t, "end") {
				case "failed":
					write(Failed)
					h.again[1]++
					continue
				case "killed late":
					write(Finish)
				}
				k := Kill{At: step("kill")}
				if rapid.Bool().Draw(t, "by pid") {
					k.PID = pid
				} else {
					k.Worker = e.Worker
				}
				h.kills = append(h.kills, k)
				h.again[0]++
				pid++
			}
			pid++
		}
	}
	return h
}

func TestLegalHistoriesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := legal(t)
		h.events = rapid.Permutation(h.events).Draw(t, "order of lines")
		r := Check(Log{Events: h.events}, h.jobs, h.kills)
		if !r.OK() || r.Finished != len(h.jobs) || r.AgainKilled != h.again[0] || r.AgainFailed != h.again[1] {
			t.Fatalf("%v again\n%s", h.again, r)
		}
	})
}

// mutations each break a legal history in one way, and say which count must notice.
var mutations = map[string]func(*rapid.T, *history) (noticed func(Report) int){
	"a job's finishes vanish": func(t *rapid.T, h *history) func(Report) int {
		op := rapid.SampledFrom(h.jobs).Draw(t, "job").Op
		kept := h.events[:0:0]
		for _, e := range h.events {
			if e.Op != op || e.What != Finish {
				kept = append(kept, e)
			}
		}
		h.events = kept
		return func(r Report) int { return r.Lost }
	},
	"two jobs of a lane trade places": func(t *rapid.T, h *history) func(Report) int {
		var pairs []int
		for i := range h.jobs[:len(h.jobs)-1] {
			if h.jobs[i].Entity == h.jobs[i+1].Entity {
				pairs = append(pairs, i)
			}
		}
		i := rapid.SampledFrom(pairs).Draw(t, "pair")
		h.jobs[i], h.jobs[i+1] = h.jobs[i+1], h.jobs[i]
		return func(r Report) int { return r.OutOfOrder }
	},
	"a run lasts into the next": func(t *rapid.T, h *history) func(Report) int {
		starts := h.lanes["e.0"]
		i := rapid.IntRange(1, len(starts)-1).Draw(t, "start")
		end := starts[i] - 1 // the event before is the end of the run before, or its start when it was cut short
		if h.events[end].What == Start {
			cut := h.events[end]
			cut.What = Finish
			h.events = append(h.events, cut)
			end = len(h.events) - 1
		}
		h.events[end].T = h.events[starts[i]].T + 1
		return func(r Report) int { return r.Overlaps }
	},
	"a fence comes again": func(t *rapid.T, h *history) func(Report) int {
		starts := h.lanes["e.0"]
		i := rapid.IntRange(1, len(starts)-1).Draw(t, "start")
		was, now := h.events[starts[i]].Fence, h.events[starts[i-1]].Fence
		for j, e := range h.events {
			if e.Entity == "e.0" && e.Fence == was {
				h.events[j].Fence = now
			}
		}
		return func(r Report) int { return r.FenceNotGrown }
	},
	"a job runs again without a reason": func(t *rapid.T, h *history) func(Report) int {
		last := h.events[len(h.events)-1]
		again := last
		again.PID, again.Fence, again.T, again.What = 9999, last.Fence+1, last.T+1, Start
		h.events = append(h.events, again)
		again.T, again.What = again.T+1, Finish
		h.events = append(h.events, again)
		return func(r Report) int { return r.AgainUnexplained }
	},
	"an earlier job runs again at the end": func(t *rapid.T, h *history) func(Report) int {
		last, first := h.events[len(h.events)-1], h.events[h.lanes[h.events[len(h.events)-1].Entity][0]]
		first.Fence, first.T = last.Fence+1, last.T+1
		h.events = append(h.events, first)
		return func(r Report) int { return r.OutOfOrder }
	},
	"the lock was busy": func(t *rapid.T, h *history) func(Report) int {
		e := rapid.SampledFrom(h.events).Draw(t, "event")
		e.What = LockBusy
		h.events = append(h.events, e)
		return func(r Report) int { return r.LockBusy }
	},
	"a run is refused": func(t *rapid.T, h *history) func(Report) int {
		for i := range h.events {
			if h.events[i].What == Finish {
				h.events[i].What = Refused
				break
			}
		}
		return func(r Report) int { return r.Refused }
	},
	"the start of a finished run vanishes": func(t *rapid.T, h *history) func(Report) int {
		i := len(h.events) - 2
		h.events = append(h.events[:i], h.events[i+1:]...)
		return func(r Report) int { return r.Stray }
	},
	"a job was never published": func(t *rapid.T, h *history) func(Report) int {
		i := rapid.IntRange(0, len(h.jobs)-1).Draw(t, "job")
		h.jobs = append(h.jobs[:i:i], h.jobs[i+1:]...)
		return func(r Report) int { return r.Unknown }
	},
}

func TestEachMutationIsFound(t *testing.T) {
	for name, mutate := range mutations {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				h := legal(t)
				noticed := mutate(t, &h)
				r := Check(Log{Events: h.events}, h.jobs, h.kills)
				if r.OK() || noticed(r) == 0 {
					t.Fatalf("not found\n%s", r)
				}
			})
		})
	}
}
