package lifecycle_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/memory"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
)

const mib = 1 << 20

// guard sets limits with times that never come unless a test changes them.
func guard(cfg *lifecycle.Config, soft, hard int64) {
	cfg.Memory.Soft, cfg.Memory.Hard, cfg.Memory.Check = soft*mib, hard*mib, 10*time.Millisecond
	cfg.Memory.Balloon, cfg.Memory.Grace, cfg.Memory.HardGrace, cfg.Memory.ShutdownWait = time.Hour, time.Hour, time.Hour, time.Hour
}

// looked waits until the guard has looked so many times more.
func (h *harness) looked(times uint64) {
	h.t.Helper()
	until := lifecycle.Looks(h.Pool) + times
	eventually(h.t, "the guard looks", func() bool { return lifecycle.Looks(h.Pool) >= until })
}

// quietSoFar fails when the guard has acted.
func (h *harness) quietSoFar() {
	h.t.Helper()
	for {
		select {
		case e := <-h.events:
			switch e.Kind {
			case lifecycle.EventOverMemory, lifecycle.EventLimitTooLow, lifecycle.EventUnguarded, lifecycle.EventExited:
				h.t.Fatalf("told as %+v", e)
			}
		default:
			return
		}
	}
}

func isMemory(t *testing.T, err error, limit memory.Limit) {
	t.Helper()
	var e *lifecycle.MemoryError
	if !errors.As(err, &e) || e.Limit != limit || e.Bytes <= e.LimitBytes {
		t.Fatalf("told as %v", err)
	}
}

func TestScenario18SoftLimitCrossedAndLeftBeforeTheBalloonEnds(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 100, 0)
		h := start(t, cfg)
		file := filepath.Join(t.TempDir(), "go")
		spike := h.begin(t.Context(), lifecycle.Job{Kind: "spike 150", Body: []byte(file)})
		h.started()
		eventually(t, "the guard sees it", func() bool { return h.child().TreeBytes > 100*mib })
		touch(t, file)
		h.want(h.wait(spike), lifecycle.Done, "")
		eventually(t, "the guard sees its end", func() bool { n := h.child().TreeBytes; return n > 0 && n < 100*mib })
		h.quietSoFar()
	})
}

func TestScenario18SoftLimitPassedForLonger(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 100, 0)
		cfg.Memory.Balloon = 50 * time.Millisecond
		cfg.Processes, cfg.Concurrency = 2, 2
		h := start(t, cfg)
		h.slotsAre(4)
		// Each child gets one of these, and so the leak has a neighbour in its child, and one in the other.
		file := filepath.Join(t.TempDir(), "go")
		first := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
		second := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
		h.started()
		h.started()
		leak := h.run("grow 150", "")
		h.want(leak, lifecycle.Done, "")
		e := h.event(lifecycle.EventOverMemory)
		isMemory(t, e.Err, memory.Soft)
		if strconv.Itoa(e.PID) != string(leak.Body) {
			t.Errorf("child %d is told to go, %s leaks", e.PID, leak.Body)
		}
		// It gets no more jobs, but the one that it has may end.
		h.slotsAre(2)
		h.looked(5)
		touch(t, file)
		h.want(h.wait(first), lifecycle.Done, "")
		h.want(h.wait(second), lifecycle.Done, "")
		gone := h.event(lifecycle.EventExited)
		isMemory(t, gone.Err, memory.Soft)
		if gone.PID != e.PID {
			t.Errorf("child %d went, not %d", gone.PID, e.PID)
		}
		h.slotsAre(4)
	})
}

func TestAnIdleChildGoesAtOnce(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 100, 0)
	cfg.Memory.Balloon, cfg.KillAfter = 0, plenty
	h := start(t, cfg)
	h.want(h.run("grow 150", ""), lifecycle.Done, "")
	isMemory(t, h.event(lifecycle.EventExited).Err, memory.Soft)
	h.want(h.run("echo", ""), lifecycle.Done, "")
}

func TestAJobThatOutlivesTheGrace(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 250, 0) // well above what the race detector makes a child grow by itself
		cfg.Memory.Balloon, cfg.Memory.Grace, cfg.Memory.ShutdownWait = 0, 50*time.Millisecond, 50*time.Millisecond
		h := start(t, cfg)
		h.settled(4)
		neighbour := h.begin(t.Context(), lifecycle.Job{Kind: "hang"})
		h.started()
		h.looked(2)
		hog := h.begin(t.Context(), lifecycle.Job{Kind: "hog 400"})
		h.want(h.wait(hog), lifecycle.Memory, "above the soft limit of 250.0 MiB")
		h.want(h.wait(neighbour), lifecycle.Interrupted, "above the soft limit of 250.0 MiB")
		h.want(h.run("echo", ""), lifecycle.Done, "")
	})
}

func TestAJobThatHeedsItsCancelIsToldToBeMemory(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 100, 0)
	cfg.Memory.Balloon, cfg.Memory.Grace, cfg.Memory.ShutdownWait = 0, 0, plenty
	cfg.Env["HOG_DEAF"] = "1" // so that the cancel is what ends the job
	h := start(t, cfg)
	r := h.run("swell 150", "")
	h.want(r, lifecycle.Memory, "above the soft limit")
	if !strings.HasSuffix(r.Err, ": cancelled") {
		t.Errorf("its own words are missing: %q", r.Err)
	}
}

func TestScenario19HardLimit(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 80, 120)
		cfg.Memory.HardGrace = 100 * time.Millisecond
		cfg.Processes, cfg.Concurrency = 2, 2
		h := start(t, cfg)
		h.settled(4)
		file := filepath.Join(t.TempDir(), "go")
		var waiting []<-chan lifecycle.Result
		for range 3 { // one child has two of these, the other one gets the hog beside its one
			waiting = append(waiting, h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)}))
			h.started()
		}
		h.looked(2)
		begun := time.Now()
		h.want(h.runIn(t.Context(), lifecycle.Job{Kind: "hog 400"}), lifecycle.Memory, "above the hard limit of 120.0 MiB")
		t.Logf("gone after %v", time.Since(begun))
		isMemory(t, h.event(lifecycle.EventExited).Err, memory.Hard)
		touch(t, file)
		counts := map[lifecycle.Cause]int{}
		for _, w := range waiting {
			r := h.wait(w)
			counts[r.Cause]++
			if r.Cause == lifecycle.Interrupted && !strings.Contains(r.Err, "above the hard limit of 120.0 MiB") {
				t.Errorf("the neighbour is told %q", r.Err)
			}
		}
		if counts[lifecycle.Done] != 2 || counts[lifecycle.Interrupted] != 1 {
			t.Errorf("the other jobs ended as %v", counts)
		}
		h.slotsAre(4)
	})
}

func TestHardLimitInAContainerThatIsNearlyFull(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 0, 100)
	lifecycle.UseRoots(&cfg, "/proc", fullContainer(t, "oom_kill 0"))
	h := start(t, cfg)
	h.want(h.run("hog 150", ""), lifecycle.Memory, "and the container was nearly full")
}

// fullContainer is /proc/self of a process in a container without any memory left.
func fullContainer(t *testing.T, events string) (self string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"cgroup": "0::/\n", "mountinfo": "1 2 0:3 / " + dir + " rw - cgroup2 cgroup2 rw\n",
		"memory.max": "100\n", "memory.current": "99\n", "memory.events": events + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAChildThatTheKernelKilledForMemory(t *testing.T) {
	for _, mode := range []string{"pool", "exec"} {
		t.Run(mode, func(t *testing.T) {
			cfg := children(t, "good")
			if mode == "exec" {
				cfg = script("kill -KILL $$")
			}
			guard(&cfg, 0, 1<<20)
			cfg.Memory.Check = time.Hour // the count is taken at the start
			self := fullContainer(t, "oom_kill 3")
			lifecycle.UseRoots(&cfg, "/proc", self)
			h := start(t, cfg)
			h.want(h.run("kill itself", ""), lifecycle.Crashed, "SIGKILL")
			if err := os.WriteFile(filepath.Join(self, "memory.events"), []byte("oom 1\noom_kill 4\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			h.want(h.run("kill itself", ""), lifecycle.Memory, "killed by the kernel")
			h.want(h.run("kill itself", ""), lifecycle.Crashed, "SIGKILL")
		})
	}
}

func TestScenario21PreloadedForks(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		// More than can be seen while the forks come to share it: one may be measured before the next one has its part. And
		// room for five times what the race detector makes a child grow by itself.
		guard(&cfg, 0, 750)
		cfg.Memory.HardGrace = 0
		cfg.Env["HOG_BASELINE"], cfg.Env["HOG_FORKS"] = "200", "4"
		h := start(t, cfg)
		h.want(h.run("echo", ""), lifecycle.Done, "")
		eventually(t, "all forks are up", func() bool { return lifecycle.Resident(h.Pool) > 1000*mib })
		eventually(t, "they are measured", func() bool { return h.child().TreeBytes > 200*mib })
		h.looked(20)
		info := h.child()
		t.Logf("resident %v, exact %v", memory.Bytes(lifecycle.Resident(h.Pool)), memory.Bytes(info.TreeBytes))
		if info.TreeBytes > 450*mib {
			t.Errorf("%+v", info)
		}
		h.quietSoFar()
	})
}

func TestScenario22SpikeAndRelease(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 100, 300)
		h := start(t, cfg)
		pid := ""
		for i := range 3 {
			file := filepath.Join(t.TempDir(), "go")
			spike := h.begin(t.Context(), lifecycle.Job{Kind: "spike 150", Body: []byte(file)})
			h.started()
			h.looked(3)
			touch(t, file)
			r := h.wait(spike)
			h.want(r, lifecycle.Done, "")
			h.looked(3)
			if i > 0 && string(r.Body) != pid {
				t.Errorf("child %s was replaced by %s", pid, r.Body)
			}
			pid = string(r.Body)
		}
		h.quietSoFar()
	})
}

func TestALimitBelowTheBaseline(t *testing.T) {
	hogs(t, func(t *testing.T, cfg lifecycle.Config) {
		guard(&cfg, 50, 0)
		cfg.Memory.Balloon, cfg.Memory.MinInterval = 0, time.Hour
		cfg.Env["HOG_BASELINE"] = "80"
		h := start(t, cfg)
		first := h.event(lifecycle.EventLimitTooLow)
		if !strings.Contains(first.Err.Error(), "the limit is below what it needs") {
			t.Errorf("told as %v", first.Err)
		}
		isMemory(t, h.event(lifecycle.EventExited).Err, memory.Soft)
		// The second one is above it as well, and left alone; that is told once.
		again := h.event(lifecycle.EventLimitTooLow)
		if again.PID == first.PID {
			t.Errorf("told as %+v again", again)
		}
		h.looked(10)
		h.want(h.run("echo", ""), lifecycle.Done, "")
		h.looked(5)
		h.quietSoFar()
	})
}

func TestLegacyModeLooksAfterJobsAndGoesOnDuringTheGrace(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 100, 0)
	cfg.Memory.Mode, cfg.Memory.Grace = memory.Legacy, plenty
	h := start(t, cfg)
	h.want(h.run("echo", ""), lifecycle.Done, "")
	file := filepath.Join(t.TempDir(), "go")
	spike := h.begin(t.Context(), lifecycle.Job{Kind: "spike 150", Body: []byte(file)})
	h.started()
	h.looked(5)
	touch(t, file)
	h.want(h.wait(spike), lifecycle.Done, "")
	h.quietSoFar()
	h.Stop(t.Context())

	cfg.Memory.Grace = 300 * time.Millisecond
	h = start(t, cfg)
	leak := h.run("grow 150", "")
	h.want(leak, lifecycle.Done, "")
	eventually(t, "the guard has looked", func() bool { // a busy host may notice only when the next child is there
		c := h.child()
		return c.TreeBytes > 100*mib || strconv.Itoa(c.PID) != string(leak.Body)
	})
	// Jobs are taken, and nothing is told, until the grace is over.
	for {
		r := h.run("pid", "")
		h.want(r, lifecycle.Done, "")
		if string(r.Body) != string(leak.Body) {
			break
		}
	}
	e := h.event(lifecycle.EventExited)
	isMemory(t, e.Err, memory.Soft)
	if strconv.Itoa(e.PID) != string(leak.Body) {
		t.Errorf("child %d went, %s leaked", e.PID, leak.Body)
	}
}

// A job that ends before the guard knows its child is looked at as soon as it does.
func TestLegacyModeMissesNoJobOfANewChild(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 100, 0)
	cfg.Memory.Mode, cfg.Memory.Grace, cfg.Memory.Check = memory.Legacy, 0, 2*time.Second
	h := start(t, cfg)
	leak := h.run("grow 150", "")
	h.want(leak, lifecycle.Done, "")
	e := h.event(lifecycle.EventOverMemory)
	isMemory(t, e.Err, memory.Soft)
	if strconv.Itoa(e.PID) != string(leak.Body) {
		t.Errorf("child %d is told to go, %s leaks", e.PID, leak.Body)
	}
}

func TestMemoryOfAProcessPerJob(t *testing.T) {
	cfg := aHog(t)
	cfg.Mode = lifecycle.ModeExec
	cfg.Env[hog.Variable], cfg.Env["HOG_TAKE"] = hog.Take, "160"
	for limit, set := range map[string]func(*lifecycle.Config){
		"soft": func(c *lifecycle.Config) {
			guard(c, 100, 0)
			c.Memory.Mode = memory.Legacy // has no meaning here: it is looked at all the same
			c.Memory.Balloon, c.Memory.Grace = 20*time.Millisecond, 20*time.Millisecond
		},
		"hard": func(c *lifecycle.Config) {
			guard(c, 0, 100)
			c.Memory.HardGrace = 100 * time.Millisecond
		},
	} {
		t.Run(limit, func(t *testing.T) {
			set(&cfg)
			h := start(t, cfg)
			h.want(h.run("", ""), lifecycle.Memory, "above the "+limit+" limit of 100.0 MiB")
			isMemory(t, h.event(lifecycle.EventOverMemory).Err, map[string]memory.Limit{"soft": memory.Soft, "hard": memory.Hard}[limit])
		})
	}
}

func TestAProcessTableThatCannotBeRead(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 0, 50)
	cfg.Memory.HardGrace = 0
	lifecycle.UseRoots(&cfg, t.TempDir(), t.TempDir())
	h := start(t, cfg)
	h.want(h.run("grow 100", ""), lifecycle.Done, "")
	h.looked(10)
	e := h.event(lifecycle.EventUnguarded)
	if !errors.Is(e.Err, memory.ErrNoTable) || problem.Hint(e.Err) == "" {
		t.Errorf("told as %v", e.Err)
	}
	h.quietSoFar()
}

// A stop in haste is not kept waiting by a grace that the guard has given.
func TestAStopShortensTheGuardsGrace(t *testing.T) {
	cfg := aHog(t)
	guard(&cfg, 100, 0)
	cfg.Memory.Balloon, cfg.Memory.Grace = 0, 0
	cfg.Env["HOG_DEAF"] = "1"
	h := start(t, cfg)
	hog := h.begin(t.Context(), lifecycle.Job{Kind: "hog 160"})
	h.started()
	h.event(lifecycle.EventOverMemory)
	eventually(t, "it is being ended", func() bool { return h.child().State == lifecycle.ChildStopping })
	h.Stop(ended(context.DeadlineExceeded))
	if r := h.wait(hog); r.Cause != lifecycle.Memory && r.Cause != lifecycle.Interrupted {
		t.Errorf("got %+v", r)
	}
}
