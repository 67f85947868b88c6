package schedule

import "time"

// What is to be done with a schedule now.
type action int

const (
	// rest: nothing until wake.
	rest action = iota
	// begin: write that the time is being fired.
	begin
	// finish: publish what is pending, and write that.
	finish
)

// move is what is to be done.
type move struct {
	do action
	// at is the time that is fired.
	at time.Time
	// wake is when to look again; zero is never.
	wake time.Time
}

// takeover is how long somebody else's pending time is left to that one.
const takeover = 300 * time.Millisecond

// decide says what worker does with a schedule at a time of the server's clock. Of the times that were missed only the
// last one is fired. Pure.
func decide(r Record, times Times, worker string, now time.Time) move {
	if p := r.Pending; p != nil {
		if wake := p.Since.Add(takeover); r.By != worker && now.Before(wake) {
			return move{wake: wake}
		}
		return move{do: finish, at: p.At}
	}
	if r.Paused || r.Next.IsZero() {
		return move{}
	}
	if now.Before(r.Next) {
		return move{wake: r.Next}
	}
	at, ok := latest(times, r.Next.Add(-1), now)
	if !ok {
		at = r.Next // what was written by a build that reckons otherwise
	}
	return move{do: begin, at: at}
}

// begun is the record with the time that is being fired.
func begun(r Record, times Times, worker string, at, now time.Time) Record {
	r.Pending, r.By = &Pending{at, now}, worker
	r.Next, _ = times.Next(later(at, now))
	return r
}

// ended is the record when the time that was pending is over. A time without a run leaves the last job's id, by which
// the next one is told whether that is finished.
func ended(r Record, worker string, run Run) Record {
	if run.Outcome == Published {
		r.Runs++
	} else {
		r.Skipped++
		if r.Last != nil {
			run.ID, run.Seq = r.Last.ID, r.Last.Seq
		}
	}
	r.Pending, r.Last, r.By = nil, &run, worker
	return r
}

// standing is what is known of the last run's job.
type standing int

const (
	// over: finished, dead or removed, or there was none.
	over standing = iota
	// waits: nobody has begun it.
	waits
	// runs: it was begun, and is not finished: it runs, or waits for a retry.
	runs
)

// outcome is what a time comes to, given the last run. Pure.
func outcome(o Overlap, last standing) string {
	switch {
	case o == Skip && last != over:
		return Skipped
	case o == Coalesce && last == waits:
		return Merged
	}
	return Published
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
