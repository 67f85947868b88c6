package record

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Job is one job that was published. The order of a list of jobs is the order of their publishing.
type Job struct {
	Op     int
	Entity string
	// Dead says that the job was given up or taken out: it need not finish, nor start.
	Dead bool
}

// Kill is a fault that may have cut runs short, as the one who caused it knows it. Without a PID and a Worker it
// may have hit anyone (a server, the machine).
type Kill struct {
	// At is of the clock that Now reads, taken before the signal was sent.
	At int64
	// Until is when the fault was over: the death was seen, the server was back. 0 is the same as At.
	Until int64
	// PID is a process that writes records; its runs were over by Until.
	PID int
	// Worker is all runs of one worker. They die soon, not at once, so it explains a second run but is no proof
	// that the first one was over.
	Worker string
}

func (k Kill) over() int64 { return max(k.At, k.Until) }

func (k Kill) mayHaveHit(r *run) bool {
	return k.PID == 0 && k.Worker == "" || k.PID != 0 && k.PID == r.PID || k.Worker != "" && k.Worker == r.Worker
}

// run is a start and what became of it.
type run struct {
	Event
	how string // Finish, Failed, Refused, or "" when the record does not say: cut short
	end int64  // the latest time at which it may still have been at work
}

const never = math.MaxInt64

// Check compares a log with the jobs that were published and the faults that were caused. It is a pure function.
//
// A run without an end is taken to go on until there is a proof that it was over: the death of its very process,
// or, when it held its entity's lock, the next run that got the same lock.
func Check(log Log, jobs []Job, kills []Kill) Report {
	c := checker{kills: kills, lanes: map[string]*lane{}, rep: Report{Jobs: len(jobs), Torn: log.Torn, Violations: []Violation{}}}
	for _, j := range jobs {
		l := c.lane(j.Entity)
		l.pos[j.Op] = len(l.jobs)
		l.jobs = append(l.jobs, j)
	}
	c.rep.Entities = len(c.lanes)
	events := slices.Clone(log.Events)
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.T, b.T) })
	for _, e := range events {
		c.event(e)
		c.end = e.T
	}
	for _, name := range c.names {
		c.lanes[name].check(&c)
	}
	c.measure()
	slices.SortStableFunc(c.rep.Violations, func(a, b Violation) int { return cmp.Compare(a.T, b.T) })
	return c.rep
}

type checker struct {
	kills []Kill
	lanes map[string]*lane
	names []string // of the lanes, in the order of their first mention, so that reports are the same each time
	runs  []*run
	end   int64 // of the log
	rep   Report
}

// lane is what was expected of one entity, and its runs in the order of their starts.
type lane struct {
	jobs []Job
	pos  map[int]int // by op: index in jobs
	runs []*run
	open map[openRun]*run
	done map[int]int64 // by op: when it first finished
}

type openRun struct {
	pid int
	Run
}

func (c *checker) lane(entity string) *lane {
	l := c.lanes[entity]
	if l == nil {
		l = &lane{pos: map[int]int{}, open: map[openRun]*run{}, done: map[int]int64{}}
		c.lanes[entity] = l
		c.names = append(c.names, entity)
	}
	return l
}

// event joins starts and ends.
func (c *checker) event(e Event) {
	l := c.lane(e.Entity)
	key := openRun{e.PID, e.Run}
	key.Locked = false
	switch e.What {
	case Start:
		r := &run{Event: e, end: never}
		l.open[key] = r
		l.runs = append(l.runs, r)
		c.runs = append(c.runs, r)
	case Finish, Failed, Refused:
		r := l.open[key]
		if r == nil {
			c.violated(&c.rep.Stray, "stray", e, "a run ended as %s that never started", e.What)
			return
		}
		delete(l.open, key)
		r.how, r.end = e.What, e.T
		if _, again := l.done[e.Op]; e.What == Finish && !again {
			l.done[e.Op] = e.T
		}
		if e.What == Refused {
			c.violated(&c.rep.Refused, "refused", e, "the entity was not in the state that this job needs")
		}
	case LockBusy:
		c.violated(&c.rep.LockBusy, "lock busy", e, "another run held the entity's lock")
	default:
		c.violated(&c.rep.Stray, "stray", e, "unknown event %q", e.What)
	}
}

func (l *lane) check(c *checker) {
	l.closeCut(c)
	l.checkOverlaps(c)
	l.checkOrder(c)
	l.checkAgain(c)
	for _, j := range l.jobs {
		if _, ok := l.done[j.Op]; ok {
			c.rep.Finished++
		} else if !j.Dead {
			e := Event{T: c.end, Run: Run{Entity: j.Entity, Op: j.Op}}
			c.violated(&c.rep.Lost, "lost", e, "the job never finished")
		}
	}
}

// closeCut finds the proven end of runs that have none of their own.
func (l *lane) closeCut(c *checker) {
	for i, r := range l.runs {
		if r.how != "" {
			continue
		}
		c.rep.Cut++
		for _, k := range c.kills {
			if k.PID != 0 && k.PID == r.PID && k.over() >= r.T {
				r.end = min(r.end, k.over())
			}
		}
		if i+1 < len(l.runs) && r.Locked && l.runs[i+1].Locked {
			r.end = min(r.end, l.runs[i+1].T)
		}
	}
}

func (l *lane) checkOverlaps(c *checker) {
	var longest *run
	for _, r := range l.runs {
		if longest != nil && r.T < longest.end {
			c.violated(&c.rep.Overlaps, "overlap", r.Event, "started while %s was not over", longest)
		}
		if longest == nil || r.end > longest.end {
			longest = r
		}
	}
}

// checkOrder follows the lane: each start must be of the job that started last, or of the next one after that has
// finished. And each start must have a higher fence than all before it.
func (l *lane) checkOrder(c *checker) {
	last, fence := -1, uint64(0)
	for _, r := range l.runs {
		if r.Fence <= fence {
			c.violated(&c.rep.FenceNotGrown, "fence", r.Event, "its fence %d is not above %d", r.Fence, fence)
		}
		fence = max(fence, r.Fence)
		pos, ok := l.pos[r.Op]
		switch {
		case !ok:
			c.violated(&c.rep.Unknown, "unknown", r.Event, "no such job was published for this entity")
			continue
		case pos < last:
			c.violated(&c.rep.OutOfOrder, "order", r.Event, "started after the later job %d", l.jobs[last].Op)
		case pos > last:
			if missing, ok := l.unfinished(max(last, 0), pos, r.T); ok {
				c.violated(&c.rep.OutOfOrder, "order", r.Event, "started before the earlier job %d had finished", missing.Op)
			}
			last = pos
		}
	}
}

// unfinished finds a job in jobs[from:to] that had not finished at time t although it should have.
func (l *lane) unfinished(from, to int, t int64) (Job, bool) {
	for _, j := range l.jobs[from:to] {
		if at, ok := l.done[j.Op]; !j.Dead && (!ok || at > t) {
			return j, true
		}
	}
	return Job{}, false
}

// checkAgain asks of each run that was not its job's first why there had to be one more.
func (l *lane) checkAgain(c *checker) {
	before := map[int]*run{}
	for _, r := range l.runs {
		prev := before[r.Op]
		before[r.Op] = r
		if prev == nil {
			continue
		}
		c.rep.Again++
		switch {
		case prev.how == Failed || prev.how == Refused:
			c.rep.AgainFailed++
		case slices.ContainsFunc(c.kills, func(k Kill) bool {
			return prev.T <= k.over() && k.At <= r.T && k.mayHaveHit(prev)
		}):
			c.rep.AgainKilled++
		default:
			c.violated(&c.rep.AgainUnexplained, "again", r.Event, "no fault explains why it ran again after %s", prev)
		}
	}
}

func (r *run) String() string {
	how := r.how
	if how == "" {
		how = "cut short"
	}
	return fmt.Sprintf("job %d in pid %d (fence %d, attempt %d, %s)", r.Op, r.PID, r.Fence, r.Attempt, how)
}
