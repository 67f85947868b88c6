package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
)

func TestATimeoutIsToldToTheChildFirst(t *testing.T) {
	cfg := children(t, "good")
	cfg.KillAfter = plenty
	h := start(t, cfg)
	pid := string(h.run("pid", "").Body)
	h.want(h.runIn(t.Context(), lifecycle.Job{Kind: "until cancelled", Timeout: time.Millisecond}), lifecycle.TimedOut,
		"timed out after 1ms: cancelled")
	if now := string(h.run("pid", "").Body); now != pid {
		t.Errorf("child %s was replaced by %s", pid, now)
	}
}

func TestAJobThatFinishesWhenItIsToldIsDone(t *testing.T) {
	cfg := children(t, "good")
	cfg.KillAfter = plenty
	h := start(t, cfg)
	r := h.runIn(t.Context(), lifecycle.Job{Kind: "finish when cancelled", Timeout: time.Millisecond})
	h.want(r, lifecycle.Done, "")
	if string(r.Body) != "just in time" {
		t.Errorf("got %q", r.Body)
	}
}

func TestAJobThatDoesNotEndInTimeCostsItsChild(t *testing.T) {
	for _, role := range []string{"good", "deaf to TERM"} {
		t.Run(role, func(t *testing.T) {
			h := start(t, children(t, role))
			neighbour := h.begin(t.Context(), lifecycle.Job{Kind: "hang"})
			h.started()
			pid := h.child().PID
			h.want(h.runIn(t.Context(), lifecycle.Job{Kind: "hang", Timeout: time.Millisecond}), lifecycle.TimedOut, "timed out after 1ms")
			h.want(h.wait(neighbour), lifecycle.Interrupted, "past its timeout")
			wantDead(t, pid)
			if e := h.event(lifecycle.EventExited); !errors.Is(e.Err, lifecycle.ErrOverran) || e.PID != pid {
				t.Errorf("the end is told as %+v", e)
			}
			h.want(h.run("echo", ""), lifecycle.Done, "")
		})
	}
}

func TestCancelledJobs(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		cause      error
		err        string
		replaced   bool
	}{
		{"gently", "until cancelled", lifecycle.ErrCancel, "cancelled: cancelled", false},
		{"gently, but it hangs", "hang", lifecycle.ErrCancel, "cancelled", true},
		{"at shutdown", "hang", errors.New("going down"), "going down", true},
		{"at once", "hang", lifecycle.ErrKillNow, "kill now", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := children(t, "deaf to TERM")
			if !c.replaced || errors.Is(c.cause, lifecycle.ErrKillNow) {
				cfg.KillAfter = plenty // no force is needed, or no grace is given
			}
			h := start(t, cfg)
			ctx, cancel := context.WithCancelCause(t.Context())
			result := h.begin(ctx, lifecycle.Job{Kind: c.kind})
			h.started()
			pid := h.child().PID
			cancel(c.cause)
			h.want(h.wait(result), lifecycle.Interrupted, c.err)
			h.want(h.run("echo", ""), lifecycle.Done, "")
			if now := h.child().PID; (now != pid) != c.replaced {
				t.Errorf("child %d is now %d", pid, now)
			}
		})
	}
}

func TestAJobIsCancelledWhileItWaitsForASlot(t *testing.T) {
	h := start(t, children(t, "never ready"))
	ctx, cancel := context.WithCancel(t.Context())
	result := h.begin(ctx, lifecycle.Job{Kind: "echo"})
	h.event(lifecycle.EventStarted)
	cancel()
	h.want(h.wait(result), lifecycle.NotStarted, "canceled")
}

func TestStopLetsJobsFinish(t *testing.T) {
	for _, mode := range []string{"pool", "exec"} {
		t.Run(mode, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "go")
			cfg := children(t, "good")
			cfg.KillAfter = plenty
			if mode == "exec" {
				cfg = script(`echo started; until [ -e "$(cat /dev/null)` + file + `" ]; do sleep 0.01; done`)
			}
			h := start(t, cfg)
			result := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
			if mode == "pool" {
				h.started()
			} else {
				h.line("started")
			}
			stopped := make(chan struct{})
			go func() { h.Stop(t.Context()); close(stopped) }()
			eventually(t, "no slots", func() bool { return h.Slots() == 0 })
			h.want(h.run("echo", ""), lifecycle.NotStarted, "takes no jobs")
			select {
			case <-stopped:
				t.Fatal("stopped while a job ran")
			default:
			}
			touch(t, file)
			h.want(h.wait(result), lifecycle.Done, "")
			<-stopped
			if mode == "pool" {
				if e := h.event(lifecycle.EventExited); e.Err != nil {
					t.Errorf("a clean end is told as %v", e.Err)
				}
			}
			if err := h.Start(t.Context()); !errors.Is(err, lifecycle.ErrStopped) {
				t.Errorf("start after stop: %v", err)
			}
		})
	}
}

func TestStopByForce(t *testing.T) {
	for _, mode := range []string{"pool", "exec"} {
		for name, cause := range map[string]error{"TERM": context.DeadlineExceeded, "KILL": lifecycle.ErrKillNow} {
			t.Run(mode+" "+name, func(t *testing.T) {
				cfg := children(t, "deaf to TERM")
				if mode == "exec" {
					cfg = script(`trap '' TERM; echo started; while :; do sleep 0.01; done`)
				}
				if name == "KILL" {
					cfg.KillAfter = plenty
				}
				h := start(t, cfg)
				result := h.begin(t.Context(), lifecycle.Job{Kind: "hang"})
				if mode == "pool" {
					h.started()
				} else {
					h.line("started")
				}
				pid := h.child().PID
				h.Stop(ended(cause))
				h.want(h.wait(result), lifecycle.Interrupted, "the pool is stopped")
				wantDead(t, pid)
			})
		}
	}
}

func TestASecondStopMakesHaste(t *testing.T) {
	cfg := children(t, "good")
	cfg.KillAfter = plenty
	h := start(t, cfg)
	result := h.begin(t.Context(), lifecycle.Job{Kind: "hang"})
	h.started()
	first := make(chan struct{})
	go func() { h.Stop(t.Context()); close(first) }()
	h.Stop(ended(lifecycle.ErrKillNow))
	<-first
	h.want(h.wait(result), lifecycle.Interrupted, "stopped")
}

func TestStopEndsWhatDoesNotListen(t *testing.T) {
	for _, role := range []string{"deaf", "never ready"} {
		t.Run(role, func(t *testing.T) {
			h := start(t, children(t, role))
			pid := h.event(lifecycle.EventStarted).PID
			if role == "deaf" {
				h.event(lifecycle.EventReady)
			}
			h.Stop(t.Context())
			wantDead(t, pid)
		})
	}
}

func TestStopWhileAJobWaitsForASlot(t *testing.T) {
	h := start(t, children(t, "never ready"))
	result := h.begin(t.Context(), lifecycle.Job{Kind: "echo"})
	h.event(lifecycle.EventStarted)
	h.Stop(t.Context())
	r := h.wait(result)
	if r.Cause != lifecycle.NotStarted || !strings.Contains(r.Err, "pool") {
		t.Errorf("got %+v", r)
	}
}

func TestStopMayComeFirstAndTwiceAndStartOnce(t *testing.T) {
	for _, cfg := range []lifecycle.Config{children(t, "good"), script("exit 0")} {
		h := prepare(t, cfg)
		h.want(h.run("echo", ""), lifecycle.NotStarted, "takes no jobs")
		h.Stop(t.Context())
		h.Stop(t.Context())
		if err := h.Start(t.Context()); !errors.Is(err, lifecycle.ErrStopped) {
			t.Errorf("start after stop: %v", err)
		}
		h = start(t, cfg)
		if err := h.Start(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
			t.Errorf("second start: %v", err)
		}
		h.Stop(t.Context())
		h.Stop(ended(context.Canceled))
	}
}

// When a group cannot be shown to be empty in time, nothing may be given back, and the slot stays taken until it can.
func TestAGroupThatIsNotSeenToBeEmptyInTime(t *testing.T) {
	for _, mode := range []string{"pool", "exec"} {
		t.Run(mode, func(t *testing.T) {
			cfg := children(t, "good")
			if mode == "exec" {
				cfg = script(`case $JOB_KIND in hang) echo started; exec sleep 1000;; esac`)
				cfg.Concurrency = 1
			}
			cfg.EmptyWait = 1 // a nanosecond: nearly always too short
			h := start(t, cfg)
			seen := false
			for range 200 {
				ctx, cancel := context.WithCancelCause(t.Context())
				result := h.begin(ctx, lifecycle.Job{Kind: "hang"})
				if mode == "pool" {
					h.started()
				} else {
					eventually(t, "it runs", func() bool { return len(h.Children()) == 1 })
				}
				cancel(lifecycle.ErrKillNow)
				r := h.wait(result)
				if r.Cause != lifecycle.Interrupted {
					t.Fatalf("got %+v", r)
				}
				if seen = !r.GroupEmpty; seen {
					break
				}
			}
			if !seen {
				t.Fatal("never overdue")
			}
			if r := h.run("echo", ""); r.Cause != lifecycle.Done {
				t.Errorf("afterwards: %+v", r)
			}
		})
	}
}

// isDead reports whether a process is gone, or dead and waiting for its parent.
func isDead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		rest := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		return strings.ContainsAny(strings.TrimSpace(rest)[:1], "ZX") // X for the moment in which it is being reaped
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func wantDead(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d is dead", pid), func() bool { return isDead(pid) })
}

// child is the first child, once there is one: a job's process may be heard before the pool lists it.
func (h *harness) child() (first lifecycle.ChildInfo) {
	h.t.Helper()
	eventually(h.t, "a child is listed", func() bool {
		list := h.Children()
		if len(list) == 0 {
			return false
		}
		first = list[0]
		return true
	})
	return first
}
