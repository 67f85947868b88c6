package chaos

import (
	"fmt"
	"strings"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
)

// Done is a fault as it was carried out.
type Done struct {
	Fault
	// Who it hit, for people.
	Who string
	// Began and Over are of the record's clock. Over is when the last of it was undone.
	Began, Over int64
}

// Lead is a change of leaders: from T on the server, -1 for none.
type Lead struct {
	Of     string
	Office Office
	Server int
	T      int64
}

// Result is one run of a seed.
type Result struct {
	Seed    uint64
	Servers int
	Workers []string
	Began   time.Time
	// Start, Calm and End are of the record's clock: the first fault, the end of the last, the last job's end.
	Start, Calm, End int64
	Faults           []Done
	Leads            []Lead
	Report           record.Report
	// OwnAgain are the runs once more that a fault of the very worker or process explains; the others are explained by a
	// fault of servers at that time, or not at all.
	OwnAgain int
	// Copies are second messages of one publish.
	Copies int
	// Lanes were checked for linearizability; Broken are those that no order explains, Unknown those not decided.
	Lanes           int
	Broken, Unknown []string
	// Idles are the longest, for the story. Longest is the longest that a lane with work had no run; LongestCalm the longest but for the time that faults cover.
	Idles                []Idle
	Longest, LongestCalm Idle
	// Bound is what LongestCalm must not exceed.
	Bound time.Duration
	// Finishes are when jobs finished, for the curve.
	Finishes []int64
	// Trouble is what else went wrong.
	Trouble []string
}

// Problems lists everything that must not be.
func (r Result) Problems() (all []string) {
	all = append(all, r.Trouble...)
	if !r.Report.OK() {
		all = append(all, "the checker found:\n"+r.Report.String())
	}
	if len(r.Broken) > 0 {
		all = append(all, fmt.Sprintf("not linearizable: %v", r.Broken))
	}
	if len(r.Unknown) > 0 {
		all = append(all, fmt.Sprintf("linearizability was not decided in time: %v", r.Unknown))
	}
	if r.LongestCalm.Calm > r.Bound {
		all = append(all, fmt.Sprintf("%s had work (job %d) and no run for %s, %s of it without a fault; the bound is %s",
			r.LongestCalm.Entity, r.LongestCalm.Op, round(r.LongestCalm.Long()), round(r.LongestCalm.Calm), r.Bound))
	}
	return all
}

// Count counts the faults of a kind.
func (r Result) Count(k Kind) (n int) {
	for _, d := range r.Faults {
		if d.Kind == k {
			n++
		}
	}
	return n
}

// Header is the head of a table of results.
func Header() string {
	columns := []string{
		"date", "commit", "seed", "servers", "faults for, in all", "faults", "changes of leaders", "jobs", "runs",
		"run again: by own fault / by a server's / unexplained", "stored twice", "overlaps", "out of order", "lost", "lanes linear",
		"longest idle lane: in all / beyond faults", "",
	}
	return "| " + strings.Join(columns, " | ") + " |\n|" + strings.Repeat(" --- |", len(columns)) + "\n"
}

// Row is the result as a row of that table.
func (r Result) Row(commit string) string {
	var faults []string
	for _, k := range Kinds() {
		if n := r.Count(k); n > 0 {
			faults = append(faults, fmt.Sprintf("%d × %s", n, k))
		}
	}
	verdict := "passed"
	if len(r.Problems()) > 0 {
		verdict = "**failed**"
	}
	rep := r.Report
	columns := []string{
		r.Began.UTC().Format("2006-01-02 15:04"), commit, fmt.Sprint(r.Seed), fmt.Sprint(r.Servers),
		fmt.Sprintf("%s, %s", round(time.Duration(r.Calm-r.Start)), round(time.Duration(r.End-r.Start))),
		fmt.Sprintf("%d: %s", len(r.Faults), strings.Join(faults, ", ")), fmt.Sprint(r.Elections()),
		fmt.Sprint(rep.Jobs), fmt.Sprint(rep.Runs),
		fmt.Sprintf("%d / %d / %d", r.OwnAgain, rep.Again-r.OwnAgain-rep.AgainUnexplained, rep.AgainUnexplained),
		fmt.Sprint(r.Copies), fmt.Sprint(rep.Overlaps + rep.LockBusy), fmt.Sprint(rep.OutOfOrder + rep.FenceNotGrown), fmt.Sprint(rep.Lost),
		fmt.Sprintf("%d of %d", r.Lanes-len(r.Broken)-len(r.Unknown), r.Lanes),
		fmt.Sprintf("%s / %s", round(r.Longest.Long()), round(r.LongestCalm.Calm)), verdict,
	}
	return "| " + strings.Join(columns, " | ") + " |\n"
}

// Elections counts how often another server became the leader of something.
func (r Result) Elections() (n int) {
	last := map[string]int{}
	for _, l := range r.Leads {
		if was, known := last[l.Of]; known && l.Server >= 0 && was != l.Server {
			n++
		}
		if l.Server >= 0 {
			last[l.Of] = l.Server
		}
	}
	return n
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// Story tells what was done and which lanes were idle for long, in seconds since the first fault.
func (r Result) Story() string {
	var b strings.Builder
	at := func(t int64) string { return fmt.Sprintf("%7.2f", float64(t-r.Start)/1e9) }
	for _, d := range r.Faults {
		fmt.Fprintf(&b, "%s to %s  %s %s\n", at(d.Began), at(d.Over), d.Kind, d.Who)
	}
	for _, i := range r.Idles {
		fmt.Fprintf(&b, "%s to %s  %s idle, job %d; %s of it without a fault\n", at(i.From), at(i.To), i.Entity, i.Op, round(i.Calm))
	}
	return b.String()
}
