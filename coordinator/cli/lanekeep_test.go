package cli

import (
	"os"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
)

// A keeper knows from the first until when its command may run, and says that it killed it for that: who started it may
// stand still just then.
func TestAKeeperWaitsForNoFurtherWord(t *testing.T) {
	for _, c := range []struct {
		until time.Duration
		sleep string
		end   holdEnd
	}{{time.Minute, "1.5", holdEnd{code: 7}}, {300 * time.Millisecond, "1000", holdEnd{code: 128 + 9, lost: true}}} {
		k, err := startKeeper([]string{"sh", "-c", "sleep " + c.sleep + "; exit 7"}, os.Environ(), false, clock.Boot()+c.until)
		if err != nil {
			t.Fatal(err)
		}
		if end := <-k.ended; end != c.end {
			t.Errorf("with %v it ended as %+v, want %+v", c.until, end, c.end)
		}
	}
}
