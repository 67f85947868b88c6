package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/e2e/rig"
)

// A workerd that was built without one of the rules does the damage which that rule prevents, and the witness notices;
// one with all rules stands the very same faults.
func TestMutants(t *testing.T) {
	rules := rig.Size([]string{"claim-cas"}, []string{
		"long-claims", // takes longest
		"claim-cas", "kill-at-end", "stolen-mark", "dead-first", "empty-group", "sweep", "steal-count", "move-ids",
	})
	if chosen := os.Getenv("SERIATIM_MUTANTS"); chosen != "" {
		rules = strings.Split(chosen, ",")
	}
	for _, rule := range rules {
		t.Run(rule, func(t *testing.T) {
			t.Parallel() // they wait for leases, most of the time
			out, code := demo(t, "", "--faults", rule)
			if code != 0 || !strings.Contains(out, "Nothing overlapped") {
				t.Errorf("a whole workerd does not stand it: exit code %d\n%s", code, out)
			}
			out, code = demo(t, rule, "--break", rule)
			if code != 1 || !strings.Contains(out, "The checker found the damage that rule "+rule+" prevents") {
				t.Errorf("the damage was not found: exit code %d\n%s", code, out)
			}
			t.Logf("without %s: %s", rule, damage(out))
		})
	}
}

// damage picks the counts that are not zero out of a report.
func damage(out string) string {
	var found []string
	twice := 0
	for line := range strings.Lines(out) {
		if _, n, ok := strings.Cut(line, "poison: "); ok {
			found = append(found, strings.TrimSpace(n))
		}
		if strings.Contains(line, "dead twice: ") {
			twice++
		}
		for _, name := range []string{"overlaps", "found the lock busy", "out of order", "refused", "lost"} {
			if n, ok := strings.CutPrefix(line, name+" "); ok && strings.TrimSpace(n) != "0" {
				found = append(found, strings.TrimSpace(n)+" "+name)
			}
		}
	}
	if twice > 0 {
		found = append(found, "jobs that are dead twice")
	}
	return strings.Join(found, ", ")
}
