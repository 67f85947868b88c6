package lifecycle

import (
	"math"
	"testing"
	"time"
)

// A child that may live as long as a duration can say is not replaced at once because its age is varied.
func TestTheLongestAgeOfAChild(t *testing.T) {
	for _, jitter := range []float64{0, 0.1, 1} {
		r := Recycle{MaxAge: math.MaxInt64, Jitter: jitter}
		for range 100 {
			if age := r.age(); age < time.Duration((1-jitter)*math.MaxInt64/2) || age == 1 {
				t.Fatalf("jitter %v: it is replaced after %v", jitter, age)
			}
		}
	}
}
