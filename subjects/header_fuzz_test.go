package subjects

import (
	"strings"
	"testing"
)

// What is published on carries nothing of the server's, keeps the job's id, and says so again when it is stripped twice.
func FuzzStripServer(f *testing.F) {
	f.Add("Nats-Msg-Id", "a", "Job-Kind", "k")
	f.Add("nats-rollup", "all", "NATS-TTL", "1s")
	f.Add("Job-Id", "mine", "Nats-Msg-Id", "seriatim.JOBS_ci.7.1")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := Header{name1: {value1}}
		h[name2] = append(h[name2], value2)
		out := StripServer(h)
		for name := range out {
			if strings.HasPrefix(strings.ToLower(name), "nats-") {
				t.Errorf("it keeps %s", name)
			}
		}
		_, id := publishersID(h)
		if got := Get(out, HeaderJobID); got != id {
			t.Errorf("the id %q became %q", id, got)
		}
		again := StripServer(out)
		if len(again) != len(out) {
			t.Errorf("%v became %v", out, again)
		}
	})
}
