package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/drain"
	"github.com/seriatim/seriatim/lifecycle/frames"
	"github.com/seriatim/seriatim/workerd/config"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// A bubble's clock stands still while anything runs, so silence is exact.
func TestWhatIsNotLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth("w", 1, []string{"ci"}, 0)
		live := func(want string) {
			t.Helper()
			if got := strings.Join(h.NotLive(), "; "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		live("")
		time.Sleep(loopStuck)
		live("")
		time.Sleep(time.Second)
		live("the main loop is stuck: it has not moved for 11s")
		h.beats()
		live("")
		time.Sleep(samplerStuck)
		h.beats()
		live("the look at the children is stuck: it has not moved for 1m11s")
		h.sample.Store(&sample{at: h.age()})
		live("") // NATS was never there: no restart mends that
		h.maxOutage = time.Minute
		live("NATS has been away for 1m11s, more than livez_max_outage")
		h.connected(true)
		live("")
		h.connected(false)
		h.sample.Store(&sample{at: h.age() + time.Minute})
		time.Sleep(time.Minute)
		h.beats()
		live("")
		time.Sleep(time.Second)
		live("NATS has been away for 1m1s, more than livez_max_outage")
	})
}

func TestWhatIsNotReady(t *testing.T) {
	h := newHealth("w", 1, []string{"ci"}, 0)
	for _, m := range drain.Modes() {
		h.setMode(m)
		h.connected(true)
		if why := h.NotReady(); (len(why) == 0) != (m == drain.Running) {
			t.Errorf("%s: %v", m, why)
		}
		h.connected(false)
		if why := strings.Join(h.NotReady(), "; "); !strings.Contains(why, "NATS is away") {
			t.Errorf("%s without NATS: %s", m, why)
		}
		if s := h.Report(); s.State != m.State() || s.Ready || !s.Live || s.Idle != (m != drain.Starting && m != drain.Running) {
			t.Errorf("%s: %+v", m, s)
		}
	}
}

func TestCrashLoops(t *testing.T) {
	var c crashes
	now := time.Now()
	at := func(pool string, after time.Duration) bool {
		_, _, loop := c.again(pool, now.Add(after))
		return loop
	}
	for i, want := range []bool{false, false, true, true} {
		c.last("a", "no database")
		if got := at("a", time.Duration(i)*time.Second); got != want {
			t.Errorf("death %d: %v", i, got)
		}
	}
	if at("b", 0) || at("b", loopWindow) || at("b", 2*loopWindow) {
		t.Error("deaths that are far apart are a loop")
	}
	if n, why, loop := c.again("a", now.Add(5*time.Second)); !loop || n != 5 || why != "no database" {
		t.Error(n, why, loop)
	}
}

func TestReasonsOfExits(t *testing.T) {
	for want, err := range map[string]error{
		"exit":        &lifecycle.ExitError{Code: 3},
		"signal":      &lifecycle.ExitError{Code: -1, Signal: 9, Name: "SIGKILL"},
		"memory":      fmt.Errorf("it went: %w", &lifecycle.MemoryError{}),
		"recycled":    fmt.Errorf("%w: 100 jobs", lifecycle.ErrRecycled),
		"replaced":    lifecycle.ErrReconfigured,
		"job_timeout": lifecycle.ErrOverran,
		"never_ready": fmt.Errorf("%w within 1s", lifecycle.ErrNeverReady),
		"protocol":    &frames.Error{},
		"killed":      lifecycle.ErrKillNow,
		"other":       errors.New("so"),
	} {
		if got := exitReason(lifecycle.Event{Kind: lifecycle.EventExited, Err: err}); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	if got := exitReason(lifecycle.Event{Kind: lifecycle.EventStartFailed, Err: errors.New("no such file")}); got != "start_failed" {
		t.Error(got)
	}
}

func TestWhatNeedsARestart(t *testing.T) {
	was, is := config.Default(), config.Default()
	if keys := needRestart(was, is); len(keys) > 0 {
		t.Error(keys)
	}
	is.HTTP, is.NATS.URL, is.ID = ":1", "nats://other", "w2"
	is.Shutdown.Timeout = time.Hour // takes effect at once
	if keys := fmt.Sprint(needRestart(was, is)); keys != "[http id nats]" {
		t.Error(keys)
	}
}

// What can be changed child by child must be what lifecycle.Reconfigure takes.
func TestReplaceable(t *testing.T) {
	d := &daemon{telemetry: newTelemetry(newHealth("w", 1, nil, 0))}
	was := config.DefaultPool()
	was.Name, was.Mode, was.Command, was.Processes = "p", config.ModePool, []string{"sleep", "600"}, 1
	m, err := d.newPool(was, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer m.pool.Stop(killNow())
	for name, change := range map[string]func(*config.Pool){
		"command":     func(p *config.Pool) { p.Command = []string{"sleep", "601"} },
		"env":         func(p *config.Pool) { p.Env = map[string]string{"A": "b"} },
		"concurrency": func(p *config.Pool) { p.Concurrency++ },
		"kinds":       func(p *config.Pool) { p.Kinds = []string{"a"} },
		"max jobs":    func(p *config.Pool) { p.Restart.MaxJobs = 7 },
		"max age":     func(p *config.Pool) { p.Restart.MaxAge = time.Hour },
		"jitter":      func(p *config.Pool) { p.Restart.Jitter = 0.5 },
		"processes":   func(p *config.Pool) { p.Processes++ },
		"memory":      func(p *config.Pool) { p.Memory.Soft = 1 << 30 },
		"mode":        func(p *config.Pool) { p.Mode = config.ModeExec },
	} {
		is := was
		change(&is)
		err := lifecycle.Reconfigure(m.pool, d.poolConfig(is, time.Second))
		if err != nil && !errors.Is(err, lifecycle.ErrNeedsNewPool) {
			t.Errorf("%s: %v", name, err)
		}
		if replaceable(was, is) && err != nil {
			t.Errorf("%s is said to be replaceable, and is not: %v", name, err)
		}
	}
}
