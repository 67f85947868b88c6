package chaos

import (
	"cmp"
	"slices"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
)

// Span is a time between two moments of the record's clock.
type Span struct{ From, To int64 }

// Long is how long it lasts.
func (s Span) Long() time.Duration { return time.Duration(s.To - s.From) }

// Idle is a lane that had work while nothing of it ran.
type Idle struct {
	Entity string
	Op     int
	Span
	// Calm is the part of it that no fault covers.
	Calm time.Duration
}

// Idles measures, for every start, how long the lane had work before it and no run: from when the job was known to be
// stored, or from the end of the run before, whatever came later. A run that was cut short counts with its start, since
// nobody saw its end; so idle is rather too long than too short. faults are the times that explain an idle lane: no
// server can store anything, or nobody is there to run it. The longest come first.
func Idles(all []Published, log record.Log, faults []Span) []Idle {
	stored := map[int]int64{}
	for _, p := range all {
		stored[p.Op] = p.Ack
	}
	covered := join(faults)
	events := slices.Clone(log.Events)
	slices.SortStableFunc(events, func(a, b record.Event) int { return cmp.Compare(a.T, b.T) })
	before := map[string]int64{} // by entity: the last sign of life
	var idles []Idle
	for _, e := range events {
		if ack, known := stored[e.Op]; e.What == record.Start && known {
			if s := (Span{max(ack, before[e.Entity]), e.T}); s.From < s.To {
				idles = append(idles, Idle{Entity: e.Entity, Op: e.Op, Span: s, Calm: s.Long() - overlap(s, covered)})
			}
		}
		before[e.Entity] = e.T
	}
	slices.SortStableFunc(idles, func(a, b Idle) int { return cmp.Compare(b.Long(), a.Long()) })
	return idles
}

// join makes spans that neither meet nor overlap, in order.
func join(spans []Span) (joined []Span) {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range spans {
		if n := len(joined); n > 0 && s.From <= joined[n-1].To {
			joined[n-1].To = max(joined[n-1].To, s.To)
		} else {
			joined = append(joined, s)
		}
	}
	return joined
}

// overlap is how much of s the joined spans cover.
func overlap(s Span, joined []Span) (sum time.Duration) {
	for _, j := range joined {
		sum += max(0, time.Duration(min(s.To, j.To)-max(s.From, j.From)))
	}
	return sum
}

// Meet is the time that is in both.
func Meet(a, b []Span) (both []Span) {
	for _, x := range join(a) {
		for _, y := range join(b) {
			if s := (Span{max(x.From, y.From), min(x.To, y.To)}); s.From < s.To {
				both = append(both, s)
			}
		}
	}
	return both
}
