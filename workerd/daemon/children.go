package daemon

import (
	"errors"
	"sync"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

// childEvent is told what happens to children: it logs, counts, and raises alerts. It is called from the children's own
// goroutines.
func (d *daemon) childEvent(e lifecycle.Event) {
	logEvent(d.log, e)
	d.telemetry.lookSoon()
	switch e.Kind {
	case lifecycle.EventExited, lifecycle.EventStartFailed:
		if errors.Is(e.Err, lifecycle.ErrStopped) || e.Kind == lifecycle.EventExited && e.Err == nil {
			return // as it was told to
		}
		reason, why := exitReason(e), e.Err.Error()
		d.telemetry.exited(e.Pool, e.PID, reason, why)
		d.metrics.Restarted(e.Pool, reason)
		d.crashes.last(e.Pool, why)
	case lifecycle.EventRestarting: // only for deaths that were not our doing
		if times, why, loop := d.crashes.again(e.Pool, time.Now()); loop {
			d.alertCrashLoop(e.Pool, times, why)
		}
	case lifecycle.EventOverMemory:
		d.alertMemory(e)
	}
}

// exitReason is why a child ended, in a word for counting.
func exitReason(e lifecycle.Event) string {
	var memory *lifecycle.MemoryError
	var frame *frames.Error
	var exit *lifecycle.ExitError
	switch {
	case e.Kind == lifecycle.EventStartFailed:
		return "start_failed"
	case errors.As(e.Err, &memory):
		return "memory"
	case errors.Is(e.Err, lifecycle.ErrRecycled):
		return "recycled"
	case errors.Is(e.Err, lifecycle.ErrReconfigured):
		return "replaced"
	case errors.Is(e.Err, lifecycle.ErrOverran):
		return "job_timeout"
	case errors.Is(e.Err, lifecycle.ErrNeverReady):
		return "never_ready"
	case errors.As(e.Err, &frame), errors.Is(e.Err, lifecycle.ErrNewerProtocol), errors.Is(e.Err, lifecycle.ErrHungUp):
		return "protocol"
	case errors.Is(e.Err, lifecycle.ErrKillNow), errors.Is(e.Err, lifecycle.ErrCancel):
		return "killed"
	case errors.As(e.Err, &exit) && exit.Signal != 0:
		return "signal"
	case errors.As(e.Err, &exit):
		return "exit"
	}
	return "other"
}

// A pool crashes in a loop when its children died so often in so short a time, by their own doing.
const (
	loopTimes  = 3
	loopWindow = time.Minute
)

// crashes finds crash loops. The zero value is ready; any goroutine.
type crashes struct {
	mu    sync.Mutex
	times map[string][]time.Time
	why   map[string]string
}

// last notes why a child ended.
func (c *crashes) last(pool, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why, c.times = map[string]string{}, map[string][]time.Time{}
	}
	c.why[pool] = why
}

// again notes that a child of the pool died, and says whether that is a loop.
func (c *crashes) again(pool string, now time.Time) (times int, why string, loop bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var recent []time.Time
	for _, t := range c.times[pool] {
		if now.Sub(t) < loopWindow {
			recent = append(recent, t)
		}
	}
	recent = append(recent, now)
	if c.times == nil {
		c.why, c.times = map[string]string{}, map[string][]time.Time{}
	}
	c.times[pool] = recent
	return len(recent), c.why[pool], len(recent) >= loopTimes
}
