package cli

import (
	"os"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
)

// A keeper knows from the first until when its command may run: who started it may stand still just then.
func TestAKeeperWaitsForNoFurtherWord(t *testing.T) {
	for _, c := range []struct {
		until time.Duration
		sleep string
		code  int
	}{{time.Minute, "1.5", 7}, {300 * time.Millisecond, "1000", 128 + 9}} {
		k, err := startKeeper([]string{"sh", "-c", "sleep " + c.sleep + "; exit 7"}, os.Environ(), false, clock.Boot()+c.until)
		if err != nil {
			t.Fatal(err)
		}
		if end := <-k.ended; end.code != c.code || end.stuck || end.err != nil {
			t.Errorf("with %v it ended as %+v, want code %d", c.until, end, c.code)
		}
	}
}
