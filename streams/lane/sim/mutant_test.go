package sim

import (
	"errors"
	"testing"

	"github.com/seriatim/seriatim/streams/lane"
)

func TestSurvey(t *testing.T) {
	for _, r := range lane.AllRules() {
		p := Breaking(r)
		steps := 0
		found := ""
		seed := uint64(1)
		for ; seed <= 200 && found == ""; seed++ {
			s, err := Run(p.Break(r), seed)
			steps += s.Steps
			var v *Violation
			if errors.As(err, &v) {
				found = v.What
			}
		}
		t.Logf("%-14s %-10s seeds %d steps %d: %s", r, p.Name, seed-1, steps, found)
	}
}
