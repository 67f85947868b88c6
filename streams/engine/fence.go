package engine

import (
	"context"
	"sync"
	"time"

	"github.com/seriatim/seriatim/internal/clock"
)

// run is one start of a job.
type run struct {
	lane   string
	fence  uint64
	job    *Job
	stop   context.CancelCauseFunc
	kill   chan struct{}
	killed bool
	since  time.Duration
	wall   time.Time
	until  time.Duration // of its claim; 0 is never
}

// end asks the run to stop, with the reason if there is a special one, or kills it. The fence's lock is held.
func (r *run) end(now bool, why error) {
	if now && !r.killed {
		r.killed = true
		close(r.kill)
	}
	r.stop(why)
}

// fence kills what runs when its time is over, whatever the loop is doing: a loop that is blocked on a dead connection
// could not. It looks several times a second at deadlines that the loop moves on, on the clock that goes on during
// suspend.
type fence struct {
	mu    sync.Mutex
	until time.Duration // of the session; nothing may be started or go on past it
	runs  map[*run]struct{}
	off   bool // a build that proves the need of it
	stop  chan struct{}
	done  chan struct{}
}

// fenceBeat is how often the fence looks. The margin of a session is at least 2 s.
const fenceBeat = 50 * time.Millisecond

func newFence(off bool) *fence {
	f := &fence{runs: map[*run]struct{}{}, off: off, stop: make(chan struct{}), done: make(chan struct{})}
	go f.watch()
	return f
}

func (f *fence) watch() {
	defer close(f.done)
	t := time.NewTicker(fenceBeat)
	defer t.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-t.C:
			f.look(clock.Boot())
		}
	}
}

func (f *fence) look(now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return
	}
	for r := range f.runs {
		if now >= f.until || r.until != 0 && now >= r.until {
			r.end(true, nil)
		}
	}
}

// add registers a run, unless the session is over already.
func (f *fence) add(r *run) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if clock.Boot() >= f.until && !f.off {
		return false
	}
	f.runs[r] = struct{}{}
	return true
}

func (f *fence) remove(r *run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, r)
}

// end ends the run of a lane that was started under this number.
func (f *fence) end(name string, number uint64, now bool, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.runs {
		if r.lane == name && r.fence == number {
			r.end(now, why)
		}
	}
}

// session moves the session's end on; zero is no session.
func (f *fence) session(until time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = until
}

// claims moves the ends of single claims on.
func (f *fence) claims(until func(lane string, number uint64) (time.Duration, bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.runs {
		if at, ok := until(r.lane, r.fence); ok {
			r.until = at
		}
	}
}

// each calls do for every run.
func (f *fence) each(do func(*run)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.runs {
		do(r)
	}
}

// deadlines are all that the fence looks at, taken at one moment.
func (f *fence) deadlines() (session time.Duration, runs []RunDeadline) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return 0, nil
	}
	for r := range f.runs {
		runs = append(runs, RunDeadline{Queue: r.job.Queue, Fence: r.fence, Until: r.until})
	}
	return f.until, runs
}

func (f *fence) close() {
	close(f.stop)
	<-f.done
}
