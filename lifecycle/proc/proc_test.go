package proc_test

import (
	"testing"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

func TestParse(t *testing.T) {
	const rest = " 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 "
	for _, c := range []struct {
		text string
		want proc.Stat
		ok   bool
		dead bool
	}{
		{"7 (sh) S 1 42 43" + rest + "1 0 99", proc.Stat{PID: 7, PPID: 1, PGID: 42, SID: 43, State: 'S', Threads: 1, Start: 99}, true, false},
		{"7 (sh) Z 1 42 42" + rest + "1 0 99", proc.Stat{PID: 7, PPID: 1, PGID: 42, SID: 42, State: 'Z', Threads: 1, Start: 99}, true, true},
		{"7 (first thread ended) Z 1 42 42" + rest + "3 0 99", proc.Stat{PID: 7, PPID: 1, PGID: 42, SID: 42, State: 'Z', Threads: 3, Start: 99}, true, false},
		{"7 (a) Z 1 9) (b) R 1 42 42" + rest + "1 0 99", proc.Stat{PID: 7, PPID: 1, PGID: 42, SID: 42, State: 'R', Threads: 1, Start: 99}, true, false},
		{"", proc.Stat{}, false, false},
		{") (", proc.Stat{}, false, false},
		{"7 (sh) Z 1", proc.Stat{}, false, false},
	} {
		got, ok := proc.Parse([]byte(c.text))
		if got != c.want || ok != c.ok || got.Dead() != c.dead {
			t.Errorf("%q: %+v, %v, dead %v", c.text, got, ok, got.Dead())
		}
	}
}
