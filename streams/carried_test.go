package streams

import (
	"encoding/json"
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
