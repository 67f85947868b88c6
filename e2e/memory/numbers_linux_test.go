package memory

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// What looking at 50 children costs the engine: it looks 60 times as often as it does by default, and what it needs then
// beyond an engine without limits is divided by 60.
func TestCostOfTheGuard(t *testing.T) {
	const children, usual, often = 50, 3 * time.Second, 50 * time.Millisecond
	s := newSceneAlone(t) // not beside others, which would be in the process table that is read
	long := rig.Size(time.Second, 20*time.Second)
	core := func(name string, memory map[string]string) float64 {
		p := fleet.Pool{
			Name: "p", Kinds: []string{"*"}, Mode: "exec", Concurrency: children, Memory: memory,
			Command: []string{"sh", "-c", "sleep 1000 & wait"},
		}
		s.host = s.Host(name, p)
		s.host.Timeout, s.host.KillAfter = 100*time.Millisecond, 100*time.Millisecond
		s.host.Start()
		engine := engineOf(t, s.host)
		s.eventually("all children are up", func() bool { return len(proc.Below([]int{engine})) >= 2*children })
		time.Sleep(500 * time.Millisecond) // until they are all told and noted
		before, since := cpu(t, engine), time.Now()
		time.Sleep(long)
		used := float64(cpu(t, engine)-before) / float64(time.Since(since))
		s.host.Stop()
		return 100 * used
	}
	jobs := make([]rig.Job, children)
	for i := range jobs {
		jobs[i].Entity = fmt.Sprint("e.", i)
	}
	s.Import(jobs...)
	none := core("none", nil)
	for name, memory := range map[string]map[string]string{
		"below their limits": limits("soft", "10GiB"), "above, so that the exact sizes are read": limits("soft", "1MiB"),
	} {
		with := core(strings.ReplaceAll(name[:5], ",", ""), memory)
		scale := float64(usual) / float64(often)
		t.Logf("guard of %d children of 2 processes, %s: %.3f %% of a core with a check every %v (%.2f %% every %v; engine without limits %.2f %%); goal 0.5 %%",
			children, name, (with-none)/scale, usual, with-none, often, none)
	}
}

// What the two processes need while there is nothing to do.
func TestMemoryOfAnIdleWorkerd(t *testing.T) {
	s := newScene(t)

	s.host = s.Host("a", s.SleepExec(2))
	s.host.Start()
	engine := engineOf(t, s.host)
	time.Sleep(2 * time.Second)
	top := s.host.Proc.PID()
	t.Logf("idle: guardian resident %.1f MB (goal 8), its share %.1f MB; engine resident %.1f MB (goal 30), its share %.1f MB",
		mb(lifecycle.RSS(top)), mb(lifecycle.PSS(top)), mb(lifecycle.RSS(engine)), mb(lifecycle.PSS(engine)))
	s.finish()
}

func mb(bytes int64) float64 { return float64(bytes) / 1e6 }

// engineOf is the engine's pid of a workerd.
func engineOf(t *testing.T, h *rig.Host) int {
	t.Helper()
	for _, p := range proc.Below([]int{h.Proc.PID()}) {
		if args := proc.Args(p.PID); len(args) > 0 && args[0] == guardian.EngineName {
			return p.PID
		}
	}
	t.Fatal("it has no engine")
	return 0
}

// cpu is how long a process's threads have run, exactly. Its threads of now are meant: those of a Go program stay.
func cpu(t *testing.T, pid int) (sum time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no schedstat of %d: %v", pid, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // that thread has ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}
