package record

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what a check found. The JSON keys are stable.
type Report struct {
	Jobs     int `json:"jobs"`
	Entities int `json:"entities"`
	Finished int `json:"finished"`
	Runs     int `json:"runs"`
	// Seconds is the time from the first start to the last finish.
	Seconds       float64 `json:"seconds"`
	JobsPerSecond float64 `json:"jobs_per_second"`
	// Peak is the most runs at one moment.
	Peak int `json:"peak"`

	// None of these may be above zero.
	Overlaps      int `json:"overlaps"`
	LockBusy      int `json:"lock_busy"`
	OutOfOrder    int `json:"out_of_order"`
	Refused       int `json:"refused"`
	FenceNotGrown int `json:"fence_not_grown"`
	Lost          int `json:"lost"`
	// Unknown are runs of jobs that nobody published, Stray are ends without a start.
	Unknown int `json:"unknown"`
	Stray   int `json:"stray"`

	// Again counts runs beyond each job's first: after a fault, after a failure, or without a reason. Only the last
	// must be zero.
	Again            int `json:"again"`
	AgainKilled      int `json:"again_killed"`
	AgainFailed      int `json:"again_failed"`
	AgainUnexplained int `json:"again_unexplained"`

	// Cut counts runs without an end, Torn lines without one.
	Cut  int `json:"cut"`
	Torn int `json:"torn"`

	// Violations are at most MaxViolations of them, in the order of time.
	Violations []Violation `json:"violations"`
}

// MaxViolations is how many a report keeps; the counts are exact all the same.
const MaxViolations = 1000

// Violation is one thing that must not happen.
type Violation struct {
	Kind   string `json:"kind"`
	T      int64  `json:"t"`
	Entity string `json:"entity"`
	Op     int    `json:"op"`
	PID    int    `json:"pid"`
	Text   string `json:"text"`
}

// OK tells whether nothing happened that must not.
func (r Report) OK() bool {
	return r.Overlaps+r.LockBusy+r.OutOfOrder+r.Refused+r.FenceNotGrown+r.Lost+r.Unknown+r.Stray+r.AgainUnexplained == 0
}

// String is the report for people.
func (r Report) String() string {
	var b strings.Builder
	line := func(name string, n int, note string) { fmt.Fprintf(&b, "%-26s %9d%s\n", name, n, note) }
	line("jobs finished", r.Finished, fmt.Sprintf(" of %d", r.Jobs))
	line("entities", r.Entities, "")
	line("jobs per second", int(r.JobsPerSecond+0.5), fmt.Sprintf(" over %s", time.Duration(r.Seconds*1e9).Round(time.Millisecond)))
	line("most jobs at once", r.Peak, "")
	line("run again", r.Again, fmt.Sprintf(" (%d after a fault, %d after a failure, %d unexplained)",
		r.AgainKilled, r.AgainFailed, r.AgainUnexplained))
	line("cut short", r.Cut, "")
	for _, v := range []struct {
		name string
		n    int
	}{
		{"overlaps", r.Overlaps},
		{"found the lock busy", r.LockBusy},
		{"out of order", r.OutOfOrder},
		{"refused", r.Refused},
		{"fence not grown", r.FenceNotGrown},
		{"lost", r.Lost},
		{"unknown jobs", r.Unknown},
		{"ends without a start", r.Stray},
	} {
		line(v.name, v.n, "")
	}
	const shown = 20
	for _, v := range r.Violations[:min(shown, len(r.Violations))] {
		fmt.Fprintf(&b, "  %s: %s job %d in pid %d: %s\n", v.Kind, v.Entity, v.Op, v.PID, v.Text)
	}
	if more := len(r.Violations) - shown; more > 0 {
		fmt.Fprintf(&b, "  … and more\n")
	}
	return b.String()
}

func (c *checker) violated(count *int, kind string, e Event, format string, args ...any) {
	*count++
	if len(c.rep.Violations) < MaxViolations {
		c.rep.Violations = append(c.rep.Violations,
			Violation{kind, e.T, e.Entity, e.Op, e.PID, fmt.Sprintf(format, args...)})
	}
}

// measure fills in what is counted over all lanes.
func (c *checker) measure() {
	c.rep.Runs = len(c.runs)
	if len(c.runs) == 0 {
		return
	}
	first, lastFinish := c.runs[0].T, int64(0)
	type step struct {
		t  int64
		by int
	}
	var steps []step
	for _, r := range c.runs {
		if r.how == Finish {
			lastFinish = max(lastFinish, r.end)
		}
		steps = append(steps, step{r.T, 1}, step{min(c.likelyEnd(r), c.end), -1})
	}
	// At one moment ends come before starts: two runs that only touch are not at once.
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.by, b.by)) })
	now := 0
	for _, s := range steps {
		now += s.by
		c.rep.Peak = max(c.rep.Peak, now)
	}
	if lastFinish > first {
		c.rep.Seconds = float64(lastFinish-first) / 1e9
		c.rep.JobsPerSecond = float64(c.rep.Finished) / c.rep.Seconds
	}
}

// likelyEnd is for counting only: a run that was cut short ended with the first fault that may have hit it.
func (c *checker) likelyEnd(r *run) int64 {
	end := r.end
	if r.how == "" {
		for _, k := range c.kills {
			if k.over() >= r.T && (k.PID != 0 || k.Worker != "") && k.mayHaveHit(r) {
				end = min(end, k.over())
			}
		}
	}
	return end
}
