package chaos

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// settings reads from the environment which seeds are played and how: SERIATIM_CHAOS_SEEDS (such as 1-10 or 3,7),
// SERIATIM_CHAOS_SERVERS (1 or 3) and SERIATIM_CHAOS_MINUTES. Without them it is one short seed on three servers.
func settings(t *testing.T) (all []setting) {
	t.Helper()
	from := func(name, otherwise string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	number := func(text string) float64 {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n <= 0 {
			t.Fatalf("%q is not a number above 0", text)
		}
		return n
	}
	set := setting{
		Shape: Shape{Servers: int(number(from("SERIATIM_CHAOS_SERVERS", "3"))), Workers: 3},
		lease: 6 * time.Second,
		load:  load{publishers: 4, rate: 25, hot: 3, wide: 60, slow: 1},
	}
	set.Length = time.Duration(number(from("SERIATIM_CHAOS_MINUTES", "0.25")) * float64(time.Minute))
	if set.Length >= time.Minute {
		set.load.long = .002
	}
	for part := range strings.SplitSeq(from("SERIATIM_CHAOS_SEEDS", "1"), ",") {
		first, last, more := strings.Cut(part, "-")
		if !more {
			last = first
		}
		for seed := uint64(number(first)); seed <= uint64(number(last)); seed++ {
			set.seed = seed
			all = append(all, set)
		}
	}
	return all
}

// Whatever fails around them, jobs of one entity never meet, keep their order, and none is lost.
func TestChaos(t *testing.T) {
	for _, set := range settings(t) {
		t.Run(fmt.Sprintf("seed %d on %d servers", set.seed, set.Servers), func(t *testing.T) {
			res := newWorld(t, set).run()
			t.Logf("\n%s\n%s%s\n%s", res.Story(), Header(), res.Row("-"), res.Report)
			for _, problem := range res.Problems() {
				t.Error(problem)
			}
		})
	}
}
