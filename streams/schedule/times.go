package schedule

import (
	"math"
	"time"

	"github.com/robfig/cron/v3"
)

// once is one time.
type once time.Time

func (o once) Next(t time.Time) (time.Time, bool) {
	if at := time.Time(o); at.After(t) {
		return at, true
	}
	return time.Time{}, false
}

// interval is a time every so often after a start.
type interval struct {
	start time.Time
	every time.Duration
}

func (i interval) Next(t time.Time) (time.Time, bool) {
	gone := max(t.Sub(i.start), 0) // saturates after 292 years
	gone -= gone % i.every
	if gone > math.MaxInt64-i.every {
		return time.Time{}, false // further than a duration reaches
	}
	return i.start.Add(gone + i.every), true
}

// everyHour are the 24 hours in the set of a cron expression.
const everyHour = 1<<24 - 1

// calendar is a cron expression in a time zone. Where the clocks change, it does what people mean by it:
//
//   - an expression that holds in every hour goes on through the change by real time: `*/10 * * * *` is every ten
//     minutes, also in the hour that comes twice;
//   - one that names hours comes once on each of its days: a time that is left out comes at the moment of the change
//     (02:30 at 03:00), and one that comes twice is the first of the two.
type calendar struct {
	table   *cron.SpecSchedule
	zone    *time.Location
	through bool
}

func (c calendar) Next(t time.Time) (time.Time, bool) {
	if c.through {
		table := *c.table
		table.Location = c.zone
		next := table.Next(t.In(c.zone))
		return next, !next.IsZero()
	}
	// The expression is read on a clock without changes, that shows what the clock on the wall shows; what it says is
	// looked up on the real one. After a change back the wall shows times that were before t: those are passed over.
	table := *c.table
	table.Location = time.UTC
	for wall := asUTC(t.In(c.zone)); ; {
		if wall = table.Next(wall); wall.IsZero() {
			return wall, false
		}
		if next := onWall(wall, c.zone); next.After(t) {
			return next, true
		}
	}
}

// asUTC is what the clock of t's zone shows, as if that were UTC.
func asUTC(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

// onWall is the first moment at which the clocks of a zone show at least what wall says: the first of two such moments,
// and the moment of the change for a time that is left out.
func onWall(wall time.Time, zone *time.Location) time.Time {
	near := wall.In(zone) // at most a day off
	// The offsets that are in force around that time, the earliest first: each has a moment at which it would show wall.
	for at := near.Add(-24 * time.Hour); ; {
		start, end := at.ZoneBounds()
		_, offset := at.Zone()
		moment := wall.Add(-time.Duration(offset) * time.Second).In(zone)
		if !start.IsZero() && moment.Before(start) {
			return start // the offset before ended too early to show it, and this one began too late
		}
		if end.IsZero() || moment.Before(end) {
			return moment
		}
		at = end
	}
}

// latest is the last time after from and not after to; ok is false when there is none. It looks back from to in growing
// steps, so that a schedule of every second costs little after a year without workers.
func latest(times Times, from, to time.Time) (last time.Time, ok bool) {
	for window := time.Second; ; window *= 2 {
		begin := to.Add(-window)
		whole := !begin.After(from)
		if whole {
			begin = from
		}
		for t, more := times.Next(begin); more && !t.After(to); t, more = times.Next(t) {
			last, ok = t, true
		}
		if ok || whole {
			return last, ok
		}
	}
}

// Preview are the next n times after t, fewer when there are no more.
func Preview(times Times, t time.Time, n int) []time.Time {
	list := make([]time.Time, 0, n)
	for len(list) < n {
		next, ok := times.Next(t)
		if !ok {
			break
		}
		list = append(list, next)
		t = next
	}
	return list
}
