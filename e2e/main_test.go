// Package e2e tests Seriatim from outside: real binaries, a real server, real processes, real faults, and the checker of
// e2e/record over what the jobs themselves wrote down. Times are printed, not asserted.
//
// The tests run in a size that suits `go test`; with SERIATIM_FULL=1 in the size that their names promise.
package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// quantile is the q-th part of values, which are sorted in place.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

// ms rounds for people.
func ms(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
