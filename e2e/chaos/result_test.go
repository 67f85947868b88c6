package chaos

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
)

// result is a run with every kind of fault.
func result() Result {
	r := Result{
		Seed: 7, Servers: 3, Workers: []string{"a", "b"}, Began: time.Unix(0, 0), Start: 1e9, Calm: 50e9, End: 62e9, Bound: time.Minute,
		Report: record.Report{Jobs: 10, Runs: 14, Again: 4}, OwnAgain: 3, Lanes: 5,
		Leads: []Lead{{Of: "JOBS_q", Office: OfJobs, Server: 0, T: 0}, {Of: "JOBS_q", Office: OfJobs, Server: -1, T: 5e9}, {Of: "JOBS_q", Office: OfJobs, Server: 2, T: 9e9}},
	}
	for i, k := range Kinds() {
		r.Faults = append(r.Faults, Done{Fault: Fault{Kind: k, Worker: i % 2}, Who: "<who>", Began: int64(i) * 2e9, Over: int64(i)*2e9 + 1e9})
		r.Finishes = append(r.Finishes, int64(i)*3e9)
	}
	return r
}

func TestTimeline(t *testing.T) {
	for _, servers := range []int{1, 3} {
		r := result()
		r.Servers = servers
		text := Timeline(r)
		in := xml.NewDecoder(strings.NewReader(text))
		for {
			if _, err := in.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range Kinds() {
			if !strings.Contains(text, "<title>"+string(k)+" ") || faultColours[k] == "" {
				t.Errorf("%s has no mark", k)
			}
		}
		if drawn := strings.Contains(text, "n3 leads JOBS_q"); drawn != (servers == 3) {
			t.Errorf("%d servers: leaders are drawn: %v", servers, drawn)
		}
	}
	_ = Timeline(Result{}) // a run that came to nothing
}

func TestRow(t *testing.T) {
	r := result()
	row := r.Row("abc")
	if strings.Count(row, "|") != strings.Count(strings.SplitN(Header(), "\n", 2)[0], "|") {
		t.Errorf("the row does not fit its head:\n%s%s", Header(), row)
	}
	for _, want := range []string{"| 3 / 1 / 0 |", "| passed |", "1 × server killed", "49s, 1m1s"} {
		if !strings.Contains(row, want) {
			t.Errorf("%s is not in %s", want, row)
		}
	}
	if r.Elections() != 1 {
		t.Errorf("%d changes of leaders", r.Elections())
	}
}

// Everything that must not be is a problem, and each one makes a run fail.
func TestProblems(t *testing.T) {
	if p := result().Problems(); len(p) > 0 {
		t.Error(p)
	}
	for name, spoil := range map[string]func(*Result){
		"overlap":        func(r *Result) { r.Report.Overlaps = 1 },
		"unexplained":    func(r *Result) { r.Report.AgainUnexplained = 1 },
		"not linear":     func(r *Result) { r.Broken = []string{"e.1"} },
		"not decided":    func(r *Result) { r.Unknown = []string{"e.1"} },
		"idle":           func(r *Result) { r.LongestCalm.Calm = r.Bound + 1 },
		"other troubles": func(r *Result) { r.Trouble = []string{"nothing moves"} },
	} {
		r := result()
		spoil(&r)
		if len(r.Problems()) != 1 || !strings.Contains(r.Row("abc"), "**failed**") {
			t.Errorf("%s: %v", name, r.Problems())
		}
	}
}

// A document has every seed and the pictures that it shows, and a second one of a day does not write over the first.
func TestProof(t *testing.T) {
	dir := t.TempDir()
	bad := result()
	bad.Seed, bad.Report.Lost = 9, 1
	p := Proof{Began: time.Unix(0, 0), Servers: 3, Commit: "abc", Command: "go test", About: []string{"a machine"}, Results: []Result{result(), result(), result(), bad}}
	for i, name := range []string{"1970-01-01-chaos-3servers", "1970-01-01-chaos-3servers-2"} {
		path, err := p.Write(dir)
		if err != nil || path != filepath.Join(dir, name+".md") {
			t.Fatal(i, path, err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"4 seeds, 1 failed", "- a machine", "    go test", name + "-seed7.svg", name + "-seed9.svg", "the checker found"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
		for _, svg := range []string{"7", "9"} {
			if _, err := os.Stat(filepath.Join(dir, name+"-seed"+svg+".svg")); err != nil {
				t.Error(err)
			}
		}
	}
}
