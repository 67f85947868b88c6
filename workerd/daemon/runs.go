package daemon

import (
	"sync"
	"time"

	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/subjects"
)

// watchEvery is how often the guardian is told the deadlines.
const watchEvery = 100 * time.Millisecond

// runs joins what the engine knows of runs, until when, with what the pools know of them, in which process.
type runs struct {
	mu   sync.Mutex
	pids map[runKey]int
	jobs map[runKey]*engine.Job

	link *guardian.Link
	stop chan struct{}
	done chan struct{}
}

// runKey names a run: fences are of a queue.
type runKey struct {
	queue subjects.Queue
	fence uint64
}

func (r *runs) begin(k runKey, j *engine.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs == nil {
		r.jobs = map[runKey]*engine.Job{}
	}
	r.jobs[k] = j
}

// job is the job of a run, nil when it is over.
func (r *runs) job(k runKey) *engine.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[k]
}

func (r *runs) started(k runKey, pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pids == nil {
		r.pids = map[runKey]int{}
	}
	r.pids[k] = pid
}

func (r *runs) ended(k runKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pids, k)
	delete(r.jobs, k)
}

// watch tells the guardian the engine's deadlines until close.
func (r *runs) watch(e *engine.Engine, link *guardian.Link) {
	if link == nil {
		return
	}
	r.link, r.stop, r.done = link, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(r.done)
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-t.C:
				link.Watch(r.deadlines(e.Deadlines()))
			}
		}
	}()
}

// close ends the watch. The engine has ended: there is no session, and nothing runs.
func (r *runs) close() {
	if r.stop == nil {
		return
	}
	close(r.stop)
	<-r.done
	r.link.Watch(guardian.Deadlines{})
}

// deadlines are by process: of several jobs in one child the earliest counts.
func (r *runs) deadlines(session time.Duration, list []engine.RunDeadline) guardian.Deadlines {
	r.mu.Lock()
	defer r.mu.Unlock()
	earliest := make(map[int]time.Duration, len(list))
	for _, run := range list {
		pid, ok := r.pids[runKey{run.Queue, run.Fence}]
		if !ok {
			continue // no process has it yet, or any more
		}
		if at, ok := earliest[pid]; !ok || at == 0 || run.Until != 0 && run.Until < at {
			earliest[pid] = run.Until
		}
	}
	d := guardian.Deadlines{Session: session}
	for pid, at := range earliest {
		d.Groups = append(d.Groups, guardian.Group{PID: pid, Until: at})
	}
	return d
}
