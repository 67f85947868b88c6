package drain_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/lifecycle/drain"
)

// cells is the table once more, in another form, so that a slip in one of them shows. A row is a mode; the columns are
// events in the order of drain.Events; "=" stays and does nothing, "=x" stays and does x.
const cells = `
              | started                  | failed        | TERM                | TSTP           | CONT         | TTIN       | HUP           | idle       | timeout              | drained
starting      | running/announce         | stopped/leave | aborting/abort      | starting quiet | =            | =show jobs | =reread later | =          | =                    | =
starting quiet| quiet/announce quiet     | stopped/leave | aborting/abort      | =              | starting     | =show jobs | =reread later | =          | =                    | =
aborting      | stopping/hand back       | stopped/leave | =                   | =              | =            | =show jobs | =             | =          | =                    | =
running       | =                        | =             | stopping/hand back  | quiet/hold     | =            | =show jobs | =reread       | =          | =                    | =
quiet         | =                        | =             | stopping/hand back  | =              | running/take | =show jobs | =reread       | =tell idle | =                    | =
stopping      | =                        | =             | killing/kill jobs   | =              | =            | =show jobs | =             | =          | ending/end jobs      | stopped/leave
ending        | =                        | =             | killing/kill jobs   | =              | =            | =show jobs | =             | =          | abandoning/give up   | stopped/leave
killing       | =                        | =             | =                   | =              | =            | =show jobs | =             | =          | abandoning/give up   | stopped/leave
abandoning    | =                        | =             | =                   | =              | =            | =show jobs | =             | =          | =                    | stopped/leave
stopped       | =                        | =             | =                   | =              | =            | =          | =             | =          | =                    | =
`

func TestEachCell(t *testing.T) {
	rows := strings.Split(strings.Trim(cells, "\n"), "\n")
	for i, e := range drain.Events() {
		if name := column(rows[0], i+1); name != e.String() {
			t.Fatalf("column %d is %q, the event is %q", i, name, e)
		}
	}
	if len(rows)-1 != len(drain.Modes()) {
		t.Fatalf("%d rows, %d modes", len(rows)-1, len(drain.Modes()))
	}
	for i, m := range drain.Modes() {
		row := rows[i+1]
		if name := column(row, 0); name != m.String() {
			t.Fatalf("row %d is %q, the mode is %q", i, name, m)
		}
		for j, e := range drain.Events() {
			next, action := drain.Next(m, e)
			if got, want := show(m, next, action), column(row, j+1); got != want {
				t.Errorf("%s in %s: %s, want %s", e, m, got, want)
			}
		}
	}
}

func column(row string, i int) string { return strings.TrimSpace(strings.Split(row, "|")[i]) }

func show(m, next drain.Mode, action drain.Action) string {
	switch {
	case next == m && action == drain.Nothing:
		return "="
	case next == m:
		return "=" + action.String()
	case action == drain.Nothing:
		return next.String()
	}
	return next.String() + "/" + action.String()
}

// What people see only ever goes forward, but for quiet and running, which change back and forth.
func TestStatesGoForward(t *testing.T) {
	order := []string{"starting", "running", "stopping", "stopped"}
	rank := func(m drain.Mode) int {
		if m.State() == "quiet" {
			return 1
		}
		return slices.Index(order, m.State())
	}
	rapid.Check(t, func(t *rapid.T) {
		mode := drain.Starting
		for _, e := range rapid.SliceOf(rapid.SampledFrom(drain.Events())).Draw(t, "events") {
			next, action := drain.Next(mode, e)
			if rank(next) < rank(mode) {
				t.Fatalf("%s in %s leads back to %s", e, mode, next)
			}
			if (action == drain.Leave) != (next == drain.Stopped && mode != drain.Stopped) {
				t.Fatalf("%s in %s: %s with %s", e, mode, next, action)
			}
			mode = next
		}
	})
}

// A workerd that stops comes to its end by what it is told to do itself, whatever people send.
func TestEveryStopEnds(t *testing.T) {
	for _, m := range drain.Modes() {
		for range 3 { // as many timers as there can be
			if m.State() != "stopping" || m == drain.Aborting {
				break
			}
			m, _ = drain.Next(m, drain.Timeout)
		}
		if m.State() == "stopping" && m != drain.Aborting {
			if next, _ := drain.Next(m, drain.Drained); next != drain.Stopped {
				t.Errorf("%s and drained: %s", m, next)
			}
		}
	}
}
