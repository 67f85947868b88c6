package failures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/rights"
)

// after is what stands behind a poison in its lane.
func (s *scene) after() streams.PublishOptions {
	return streams.PublishOptions{Kind: kindShell, Data: []byte(`echo "$JOB_ENTITY" >> '` + s.Path("after") + `'`)}
}

// A job that kills its guardian and its engine in one instant, so that nobody is left to tell of it.
func TestAJobThatKillsItsWorker(t *testing.T) {
	w := newWard(newScene(t, policy...))
	for _, name := range []string{"a", "b", "c"} {
		w.host(w.Host(name, shellPool(2), w.SleepPool(1, 3)))
	}
	d, seq := w.poisoned("poison.1", streams.PublishOptions{Kind: kindShell, Data: []byte(`
		echo start >> '` + w.Path("starts") + `'
		sleep 0.3
		guardian=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status)
		kill -STOP $guardian $PPID
		kill -KILL $guardian $PPID
		sleep 600`)}, w.after())
	w.evidence(d)
	if n := len(w.lines("starts")); n != 3 || w.deaths != 3 {
		t.Errorf("%d starts, %d workers died", n, w.deaths)
	}
	w.finish(seq)
	if got := strings.Join(w.lines("after"), " "); got != "poison.1" {
		t.Errorf("after it ran %q", got)
	}
}

// A handler that panics takes its program down, and with it the engine.
func TestAJobThatPanicsTheEngine(t *testing.T) {
	s := newScene(t, policy...)
	w := newWard(s)
	for _, name := range []string{"a", "b", "c"} {
		w.add(name, func() *fleet.Process {
			p, err := fleet.Start(fleet.Program{
				Name: "program " + name, Path: self(t)[0], Log: s.Path(name + ".log"), Mark: s.Dir,
				Env: []string{actAs + "=" + asWorker, "WORKER_URL=" + rig.As(rights.Worker, s.URL()), "WORKER_NAME=" + name, "WORKER_RECORD=" + s.Path("record")},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Kill)
			return p
		})
	}
	d, seq := w.poisoned("poison.1", streams.PublishOptions{Kind: kindPanic}, streams.PublishOptions{Kind: kindNote, Data: []byte(s.Path("after"))})
	w.evidence(d)
	if w.deaths != 3 {
		t.Errorf("%d programs died", w.deaths)
	}
	w.finish(seq)
	if got := strings.Join(s.lines("after"), " "); got != "poison.1" {
		t.Errorf("after it ran %q", got)
	}
}

// A job that fills the memory of its container. The kernel kills it, or what is in its way: what it does not kill goes on.
// Where no memory control group of version 1 can be made the guard of the pool kills it.
func TestAJobThatFillsTheMemory(t *testing.T) {
	groups := memoryGroups(t, 3, "200M")
	s := newScene(t, policy...)
	w := newWard(s)
	for i, name := range []string{"a", "b", "c"} { // each of whose processes the kernel would rather kill than one that says 0
		h := s.Host(name, shellPool(2), hogPool(t), s.SleepPool(1, 3))
		if groups != nil {
			script := "#!/bin/sh\necho $$ > '" + groups[i] + "/cgroup.procs' && echo 1000 > /proc/self/oom_score_adj && exec '" + h.Binary + "' \"$@\"\n"
			h.Binary = s.Path(name + ".sh")
			rig.Script(t, h.Binary, script)
		}
		w.host(h)
	}
	if groups == nil {
		t.Log("no memory control group can be made here: the guard has to do it")
		d, seq := w.poisoned("poison.1", streams.PublishOptions{Kind: kindHog, Data: []byte("hog 400")}, w.after())
		if d.Cause != "memory" || d.Attempts != 3 || len(d.Tries) != 3 || w.deaths != 0 {
			t.Errorf("%d deaths, %+v", w.deaths, d)
		}
		w.finish(seq)
		return
	}
	d, first := w.poisoned("poison.1", streams.PublishOptions{Kind: kindShell, Data: []byte("exec tail /dev/zero")}, w.after())
	t.Logf("%s after %d attempts: %s", d.Cause, d.Attempts, d.Error)
	if d.Cause != "crashed" || d.Attempts != 3 || len(d.Tries) != 3 || !strings.Contains(d.Error, "signal 9") || w.deaths != 0 {
		t.Errorf("%d deaths, %+v", w.deaths, d)
	}
	// One that the kernel kills last: before it it takes the engine, and perhaps the guardian.
	d, second := w.poisoned("poison.2", streams.PublishOptions{Kind: kindShell, Data: []byte(`
		echo 0 > /proc/self/oom_score_adj
		exec tail /dev/zero`)}, w.after())
	w.evidence(d)
	w.finish(first, second)
	if got := strings.Join(s.lines("after"), " "); got != "poison.1 poison.2" {
		t.Errorf("after them ran %q", got)
	}
}

// memoryGroups makes memory control groups with a limit, or none at all.
func memoryGroups(t *testing.T, n int, limit string) (dirs []string) {
	t.Helper()
	const root = "/sys/fs/cgroup/memory"
	for range n {
		dir, err := os.MkdirTemp(root, "seriatim-test-")
		if err != nil {
			t.Log(err)
			return nil
		}
		t.Cleanup(func() {
			for end := time.Now().Add(10 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); {
				time.Sleep(50 * time.Millisecond) // something in it is about to end
			}
		})
		if err := os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), []byte(limit), 0o644); err != nil {
			t.Log(err)
			return nil
		}
		dirs = append(dirs, dir)
	}
	return dirs
}
