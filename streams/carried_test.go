package streams

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

func TestCarriedIsRead(t *testing.T) {
	for _, forged := range []string{"", "no", `{"counts":{"attempts":-1}}`, `[]`} {
		c := ReadCarried(forged)
		if !c.Counts.Zero() || c.Tries != nil {
			t.Errorf("%q is read as %+v", forged, c)
		}
		if got := carriedBy(map[string][]string{HeaderCarried: {forged}}); got != nil {
			t.Errorf("%q is read as %+v", forged, got)
		}
	}
	want := Carried{Counts: lane.Counts{Attempts: 2}, Tries: []lane.Try{{Worker: "w", Cause: "failed"}}, Published: time.Unix(5, 0).UTC()}
	got, _ := json.Marshal(ReadCarried(want.Encode()))
	if string(got) != want.Encode() {
		t.Errorf("it is read as %s", got)
	}
}

// What a job brings along can be made to fit, but for its counts.
func TestCarriedWithin(t *testing.T) {
	c := Carried{Counts: lane.Counts{Attempts: 3}, Published: time.Unix(5, 0).UTC()}
	for i := range 3 {
		c.Tries = append(c.Tries, lane.Try{Worker: "w", Fence: uint64(i), Cause: "failed", Error: strings.Repeat("<", 300), Log: strings.Repeat(">", 400)})
	}
	whole := c.Encode()
	tries := len(c.Tries) + 1
	for most := len(whole) + 1; most >= -1; most-- {
		text := c.EncodeWithin(most)
		got := ReadCarried(text)
		if got.Counts != c.Counts || !got.Published.Equal(c.Published) || len(got.Tries) > tries {
			t.Fatalf("%d bytes: %s", most, text)
		}
		if tries = len(got.Tries); len(text) > max(most, 100) {
			t.Fatalf("%d bytes are %d: %s", most, len(text), text)
		}
	}
	if c.EncodeWithin(len(whole)) != whole || tries != 0 || len(c.Tries) != 3 || c.Tries[0].Log == "" {
		t.Error("what fits is not whole, or the record was changed")
	}
}
