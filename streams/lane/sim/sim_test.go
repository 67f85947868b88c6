package sim

import (
	"flag"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "play this seed alone")
	seedsFlag = flag.Uint64("seeds", 20, "how many seeds of each profile")
)

func TestSeeds(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			from, to := uint64(1), *seedsFlag
			if *seedFlag != 0 {
				from, to = *seedFlag, *seedFlag
			}
			var sum Stats
			begin := time.Now()
			for seed := from; seed <= to; seed++ {
				s, err := Run(p, seed)
				sum.Add(s)
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%+v, %.0f steps/s", sum, float64(sum.Steps)/time.Since(begin).Seconds())
		})
	}
}
