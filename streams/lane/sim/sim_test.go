package sim

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// go test ./streams/lane/sim -run TestSeeds -seed N plays one seed again, in all profiles or in -profile P.
var (
	seedFlag    = flag.Uint64("seed", 0, "play this seed alone")
	fromFlag    = flag.Uint64("from", 1, "the first seed")
	seedsFlag   = flag.Uint64("seeds", 0, "how many seeds of each profile; 0 is few, and more when SERIATIM_FULL is set")
	profileFlag = flag.String("profile", "", "play this profile alone")
)

// rounds is how many seeds a profile is played with.
func rounds() (from, to uint64) {
	n := *seedsFlag
	switch {
	case *seedFlag != 0:
		return *seedFlag, *seedFlag
	case n != 0:
	case os.Getenv("SERIATIM_FULL") != "":
		n = 150 / slowdown
	default:
		n = 30 / slowdown
	}
	return *fromFlag, *fromFlag + n - 1
}

// TestSeeds plays every profile with all rules on: no invariant may break.
func TestSeeds(t *testing.T) {
	for _, p := range Profiles() {
		if *profileFlag != "" && *profileFlag != p.Name {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			var sum Stats
			begin := time.Now()
			from, to := rounds()
			for seed := from; seed <= to; seed++ {
				s, err := Run(p, seed)
				sum.Add(s)
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("seeds %d to %d, %.0f steps/s: %+v", from, to, float64(sum.Steps)/time.Since(begin).Seconds(), sum)
			if sum.Published == 0 || sum.Done == 0 {
				t.Error("nothing was played")
			}
		})
	}
}

// enough is the number of seeds within which a missing rule must show. Most show in the first or second.
const enough = 60

// TestRules switches each rule off: each must be missed, under a profile that passes with all rules on.
func TestRules(t *testing.T) {
	for _, r := range lane.AllRules() {
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			missed(t, Breaking(r).Break(r))
		})
	}
	t.Run("guardian", func(t *testing.T) {
		t.Parallel()
		p := Pauses()
		p.Guardian = false
		missed(t, p)
	})
}

// missed plays seeds until an invariant breaks.
func missed(t *testing.T, p Profile) {
	t.Helper()
	steps := 0
	for seed := uint64(1); seed <= enough; seed++ {
		s, err := Run(p, seed)
		steps += s.Steps
		if v := new(Violation); errors.As(err, &v) {
			t.Logf("%s: seed %d, %d steps in all, at %v: %s", p.Name, seed, steps, v.At, v.What)
			return
		}
	}
	t.Errorf("%d seeds of %s, %d steps: nobody would notice", enough, p.Name, steps)
}

// TestSame plays a seed twice: the same history, with and without writing it down.
func TestSame(t *testing.T) {
	p := Rough()
	a, b := play(p, 7, false), play(p, 7, true)
	if a.stats != b.stats || a.stats.Steps == 0 {
		t.Errorf("one seed, two histories:\n%+v\n%+v", a.stats, b.stats)
	}
	if c := play(p, 8, false); c.stats == a.stats {
		t.Error("two seeds, one history")
	}
}

// TestViolation looks at what a broken invariant tells.
func TestViolation(t *testing.T) {
	_, err := Run(Breaking(lane.RuleEmptyGroup).Break(lane.RuleEmptyGroup), 1)
	v := new(Violation)
	if !errors.As(err, &v) {
		t.Fatalf("no violation but %v", err)
	}
	if v.Seed != 1 || v.Step == 0 || v.At == 0 || v.Lane == "" || v.Profile != "stops" || len(v.Events) == 0 {
		t.Errorf("it does not tell where: %+v", v)
	}
	for _, want := range []string{"seed 1,", "overlap", "Start job", "CLAIMS"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not tell of %q:\n%v", want, err)
		}
	}
}
