package lifecycle_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
)

func (h *harness) slotsAre(n int) {
	h.t.Helper()
	eventually(h.t, strconv.Itoa(n)+" slots", func() bool { return h.Slots() == n })
}

// lowest remembers the least number of slots that was told since the first one.
type lowest struct {
	mu   sync.Mutex
	most int
	dips []int
}

func (l *lowest) tell(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < l.most {
		l.dips = append(l.dips, n)
	}
	l.most = max(l.most, n)
}

func (l *lowest) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dips = nil
}

func (l *lowest) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.dips) > 0 {
		t.Errorf("slots were lost: %v of %d", l.dips, l.most)
	}
}

func TestAChildIsRecycledAfterSoManyJobsWithoutLosingASlot(t *testing.T) {
	cfg := children(t, "good")
	cfg.Processes, cfg.KillAfter = 2, plenty
	cfg.Recycle = lifecycle.Recycle{MaxJobs: 20, Jitter: 0.5}
	h := prepare(t, cfg)
	var slots lowest
	h.OnSlots(slots.tell)
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.slotsAre(8)
	slots.reset()
	pids := map[string]bool{}
	for range 200 {
		r := h.run("pid", "")
		h.want(r, lifecycle.Done, "")
		pids[string(r.Body)] = true
	}
	replaced := 0
	for len(pids) < 6 { // the next ones take their time to be ready
		r := h.run("pid", "")
		h.want(r, lifecycle.Done, "")
		pids[string(r.Body)] = true
	}
	slots.check(t)
	h.Stop(t.Context())
	ready := map[int]bool{}
	for {
		select {
		case e := <-h.events:
			switch e.Kind {
			case lifecycle.EventReady:
				ready[e.PID] = true
			case lifecycle.EventReplacing:
				if !errors.Is(e.Err, lifecycle.ErrRecycled) || !strings.HasSuffix(e.Err.Error(), " jobs") {
					t.Errorf("told as %v", e.Err)
				}
			case lifecycle.EventExited:
				if errors.Is(e.Err, lifecycle.ErrStopped) && !ready[e.PID] {
					break // it was to be the next one when the pool was stopped
				}
				if e.Err != nil && !errors.Is(e.Err, lifecycle.ErrRecycled) {
					t.Errorf("told as %v", e.Err)
				}
				if e.Err != nil {
					replaced++
				}
			case lifecycle.EventRestarting:
				t.Errorf("a recycled child is not one that died: %+v", e)
			}
			continue
		default:
		}
		break
	}
	if replaced < 4 {
		t.Errorf("%d were replaced", replaced)
	}
}

func TestARecycledChildFinishesItsJobs(t *testing.T) {
	cfg := children(t, "good")
	cfg.KillAfter = plenty
	cfg.Recycle = lifecycle.Recycle{MaxAge: 2 * time.Second} // until then it has to have its job
	h := start(t, cfg)
	file := filepath.Join(t.TempDir(), "go")
	long := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
	h.started()
	pid := strconv.Itoa(h.event(lifecycle.EventReady).PID)
	if e := h.event(lifecycle.EventReplacing); strconv.Itoa(e.PID) != pid || !strings.Contains(e.Err.Error(), "2s") {
		t.Errorf("told as %+v", e)
	}
	h.event(lifecycle.EventReady)
	eventually(t, "the next one takes the jobs", func() bool { return string(h.run("pid", "").Body) != pid })
	stopping := 0
	for _, c := range h.Children() {
		if c.State == lifecycle.ChildStopping && strconv.Itoa(c.PID) == pid && c.Jobs == 1 {
			stopping++
		}
	}
	if stopping != 1 {
		t.Errorf("children are %+v", h.Children())
	}
	touch(t, file)
	h.want(h.wait(long), lifecycle.Done, "")
}

// While no successor can be had, the old child works on; when it ends meanwhile, the place is filled all the same.
func TestASuccessorThatCannotBeHad(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "broken")
	cfg := children(t, "good")
	cfg.Command = []string{"sh", "-c", `[ -e "` + flag + `" ] && exit 9; exec "` + cfg.Command[0] + `"`}
	cfg.Recycle = lifecycle.Recycle{MaxJobs: 1}
	h := start(t, cfg)
	h.slotsAre(4)
	touch(t, flag)
	first := h.run("pid", "")
	h.want(first, lifecycle.Done, "")
	for range 3 {
		if e := h.event(lifecycle.EventExited); e.Err == nil || strconv.Itoa(e.PID) == string(first.Body) {
			t.Errorf("told as %+v", e)
		}
	}
	if r := h.run("pid", ""); string(r.Body) != string(first.Body) {
		t.Errorf("child %s was replaced: %+v", first.Body, r)
	}
	h.want(h.run("kill itself", ""), lifecycle.Crashed, "SIGKILL")
	for range 3 {
		h.event(lifecycle.EventRestarting)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	h.want(h.run("echo", ""), lifecycle.Done, "")
	eventually(t, "one child is left", func() bool { return len(h.Children()) == 1 })
}

func TestStopWhileChildrenAreRecycled(t *testing.T) {
	for range 20 {
		cfg := children(t, "good")
		cfg.Processes = 3
		cfg.Recycle = lifecycle.Recycle{MaxJobs: 1}
		h := start(t, cfg)
		for range 5 {
			h.want(h.run("echo", ""), lifecycle.Done, "")
		}
		h.Stop(t.Context())
		for _, c := range h.Children() {
			if c.PID != 0 {
				t.Errorf("left %+v", c)
			}
		}
	}
}

// Recycling under crashes and timeouts: every run ends once, and the pool works afterwards with as many slots as before.
func TestRecyclingAmongFaults(t *testing.T) {
	cfg := children(t, "good")
	cfg.Processes, cfg.KillAfter = 3, 5*time.Millisecond
	cfg.Recycle = lifecycle.Recycle{MaxJobs: 5, Jitter: 1, MaxAge: 50 * time.Millisecond}
	h := start(t, cfg)
	kinds := []string{"echo", "echo", "echo", "hang", "kill itself", "until cancelled"}
	var all sync.WaitGroup
	gate := make(chan struct{}, 10)
	for i := range 300 {
		j := lifecycle.Job{Kind: kinds[i%len(kinds)], Timeout: time.Duration(1+i%7) * 10 * time.Millisecond}
		gate <- struct{}{}
		all.Go(func() {
			defer func() { <-gate }()
			if r := h.Run(t.Context(), j); r.Cause == 0 || !r.GroupEmpty {
				t.Errorf("%s: %+v", j.Kind, r)
			}
		})
	}
	all.Wait()
	h.slotsAre(12)
	eventually(t, "the pool works", func() bool { return h.run("echo", "").Cause == lifecycle.Done })
	h.Stop(t.Context())
	for _, c := range h.Children() {
		if c.PID != 0 || c.Jobs != 0 {
			t.Errorf("left %+v", c)
		}
	}
}

// A job's time limit holds for all that it started: the cancel is not heeded, so its child goes with its whole group.
func TestATimeLimitEndsWhatTheJobStarted(t *testing.T) {
	h := start(t, children(t, "deaf to TERM"))
	grandchild := h.run("leave a grandchild", "")
	h.want(grandchild, lifecycle.Done, "")
	pid, err := strconv.Atoi(string(grandchild.Body))
	if err != nil {
		t.Fatal(err)
	}
	h.want(h.runIn(t.Context(), lifecycle.Job{Kind: "hang", Timeout: time.Millisecond}), lifecycle.TimedOut, "timed out after 1ms")
	wantDead(t, pid)
	h.want(h.run("echo", ""), lifecycle.Done, "")
}
