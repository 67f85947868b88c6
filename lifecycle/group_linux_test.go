package lifecycle

import "testing"

func TestReadStat(t *testing.T) {
	const rest = " 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 "
	for _, c := range []struct {
		stat string
		pgid int
		dead bool
	}{
		{"7 (sh) S 1 42 42" + rest + "1 0 99", 42, false},
		{"7 (sh) Z 1 42 42" + rest + "1 0 99", 42, true},
		{"7 (first thread ended) Z 1 42 42" + rest + "3 0 99", 42, false},
		{"7 (a) Z 1 9) (b) R 1 42 42" + rest + "1 0 99", 42, false},
		{"", 0, false},
		{"7 (sh) Z 1", 0, false},
	} {
		if pgid, dead := readStat([]byte(c.stat)); pgid != c.pgid || dead != c.dead {
			t.Errorf("%q: group %d, dead %v", c.stat, pgid, dead)
		}
	}
}
