package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Proof is what a document about several seeds says.
type Proof struct {
	// Began is when the first seed did; it is the document's name too.
	Began   time.Time
	Servers int
	// Commit is what was tested, Command what to run to see it again, About whatever else is to be known: the machine, the
	// lease, the load.
	Commit, Command string
	About           []string
	Results         []Result
}

// pictures is how many timelines go with a document; failed seeds have theirs in any case.
const pictures = 2

// Write writes the document, and timelines of its first seeds and of failed ones, into a folder. It writes over nothing:
// a second document of a day has a number.
func (p Proof) Write(dir string) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-chaos-%dservers", p.Began.UTC().Format(time.DateOnly), p.Servers)
	for n, base := 2, name; ; n++ {
		if _, err := os.Stat(filepath.Join(dir, name+".md")); os.IsNotExist(err) {
			break
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
	drawn := map[uint64]string{}
	for i, r := range p.Results {
		if i >= pictures && len(r.Problems()) == 0 {
			continue
		}
		file := fmt.Sprintf("%s-seed%d.svg", name, r.Seed)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(Timeline(r)), 0o644); err != nil {
			return "", err
		}
		drawn[r.Seed] = file
	}
	path = filepath.Join(dir, name+".md")
	return path, os.WriteFile(path, []byte(p.text(drawn)), 0o644)
}

func (p Proof) text(drawn map[uint64]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Chaos on %s of %s\n\n", map[bool]string{true: "one server", false: fmt.Sprintf("%d servers", p.Servers)}[p.Servers == 1],
		p.Began.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(&b, "Commit %s. To see it again:\n\n    %s\n\n", p.Commit, p.Command)
	for _, line := range p.About {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	b.WriteString("\n" + Header())
	faults, jobs, runs, failed := 0, 0, 0, 0
	for _, r := range p.Results {
		b.WriteString(r.Row(p.Commit))
		faults, jobs, runs = faults+len(r.Faults), jobs+r.Report.Jobs, runs+r.Report.Runs
		if len(r.Problems()) > 0 {
			failed++
		}
	}
	fmt.Fprintf(&b, "\n%d seeds, %d failed: %d faults, %d jobs, %d runs.\n", len(p.Results), failed, faults, jobs, runs)
	for _, r := range p.Results {
		for _, problem := range r.Problems() {
			fmt.Fprintf(&b, "\nSeed %d:\n\n    %s\n", r.Seed, strings.ReplaceAll(problem, "\n", "\n    "))
		}
	}
	for _, r := range p.Results {
		if file := drawn[r.Seed]; file != "" {
			fmt.Fprintf(&b, "\n## Seed %d\n\n![faults, leaders and jobs over time](%s)\n", r.Seed, file)
		}
	}
	return b.String()
}
