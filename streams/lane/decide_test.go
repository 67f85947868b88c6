package lane

import (
	"testing"
	"time"
)

// TestDecide is the table of claims, cell by cell. The columns are what the head read showed: no job, an earlier one
// than the record's, the record's, a later one, a later one while the claim is marked stolen, and any job of a JOBS that
// was made anew under the record.
func TestDecide(t *testing.T) {
	const (
		none = iota
		earlier
		same
		later
		laterStolen
		otherJobs
		columns
	)
	now := time.Unix(1000, 0)
	for _, row := range []struct {
		state   Standing
		due     time.Duration
		session string // whose record it is
		want    [columns]Verdict
	}{
		{Running, 0, "own", [columns]Verdict{Empty, Fresh, Again, Fresh, Fresh, Fresh}},
		{Running, 0, "living", [columns]Verdict{Empty, Stale, Busy, Fresh, Busy, Busy}},
		{Running, 0, "dead", [columns]Verdict{Empty, Fresh, Steal, Fresh, Fresh, Fresh}},

		{GivenBack, 0, "own", [columns]Verdict{Empty, Stale, Again, Fresh, Fresh, Fresh}},
		{GivenBack, 0, "living", [columns]Verdict{Empty, Stale, Again, Fresh, Fresh, Fresh}},
		{GivenBack, 0, "dead", [columns]Verdict{Empty, Stale, Again, Fresh, Fresh, Fresh}},

		{Waiting, time.Second, "own", [columns]Verdict{Empty, Stale, NotDue, Fresh, Fresh, Fresh}},
		{Waiting, time.Second, "living", [columns]Verdict{Empty, Stale, NotDue, Fresh, Fresh, Fresh}},
		{Waiting, time.Second, "dead", [columns]Verdict{Empty, Stale, NotDue, Fresh, Fresh, Fresh}},
		{Waiting, 0, "own", [columns]Verdict{Empty, Stale, Again, Fresh, Fresh, Fresh}},
		{Waiting, 0, "living", [columns]Verdict{Empty, Stale, Again, Fresh, Fresh, Fresh}},
		{Waiting, -time.Second, "dead", [columns]Verdict{Empty, Stale, Again, Fresh, Fresh, Fresh}},

		{Halted, 0, "own", [columns]Verdict{Empty, Stale, Stands, Fresh, Fresh, Fresh}},
		{Halted, 0, "living", [columns]Verdict{Empty, Stale, Stands, Fresh, Fresh, Fresh}},
		{Halted, 0, "dead", [columns]Verdict{Empty, Stale, Stands, Fresh, Fresh, Fresh}},

		{Done, 0, "own", [columns]Verdict{Empty, Stale, Stale, Fresh, Fresh, Fresh}},
		{Done, 0, "living", [columns]Verdict{Empty, Stale, Stale, Fresh, Fresh, Fresh}},
		{Done, 0, "dead", [columns]Verdict{Empty, Stale, Stale, Fresh, Fresh, Fresh}},

		// Under an operator's claim several jobs may go: a later head says nothing.
		{Held, 0, "own", [columns]Verdict{Empty, Fresh, Again, Fresh, Fresh, Fresh}},
		{Held, 0, "living", [columns]Verdict{Empty, Busy, Busy, Busy, Busy, Busy}},
		{Held, 0, "dead", [columns]Verdict{Empty, Fresh, Steal, Fresh, Fresh, Fresh}},
	} {
		for column, want := range row.want {
			v := &View{
				Session: "own", Created: 1, ServerNow: now, Dead: func(s string) bool { return s == "dead" },
			}
			r := Record{State: row.state, Session: row.session, Job: 7, Created: 1, NotBefore: now.Add(row.due).UnixMilli()}
			h := Head{Found: true, Seq: 7}
			switch column {
			case none:
				h = Head{}
			case earlier:
				h.Seq = 6
			case later:
				h.Seq = 8
			case laterStolen:
				h.Seq, r.Stolen = 8, true
			case otherJobs:
				v.Created = 2
			}
			if got := Decide(r, h, v); got != want {
				t.Errorf("%s by %s, due in %v, column %d: %v, want %v", row.state, row.session, row.due, column, got, want)
			}
		}
	}
}

// TestDecideBroken: what the rule about stale heads is for, and that nothing else hangs on it.
func TestDecideBroken(t *testing.T) {
	v := &View{Session: "own", Created: 1, Dead: func(string) bool { return false }}
	v.Broken = Break(RuleStaleHead)
	r := Record{State: Running, Session: "living", Job: 7, Created: 1}
	if got := Decide(r, Head{Found: true, Seq: 6}, v); got != Fresh {
		t.Errorf("without the rule a stale head is %v", got)
	}
	if got := Decide(r, Head{Found: true, Seq: 7}, v); got != Busy {
		t.Errorf("without the rule the record's own job is %v", got)
	}
}

// TestDecideWithoutSession: a holder without a session owns nothing.
func TestDecideWithoutSession(t *testing.T) {
	v := &View{Created: 1, Dead: func(string) bool { return false }}
	if got := Decide(Record{State: Running, Job: 7, Created: 1}, Head{Found: true, Seq: 7}, v); got != Busy {
		t.Errorf("a record of no session is %v for a holder of no session", got)
	}
}
