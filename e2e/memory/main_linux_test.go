package memory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
	"github.com/seriatim/seriatim/lifecycle/proc"
	"github.com/seriatim/seriatim/streams"
)

func TestMain(m *testing.M) {
	hog.Main()
	rig.Main(m)
}

// What the log says.
const (
	overMemory = "a child uses too much memory: it gets no more jobs and is replaced"
	tooLow     = "THE MEMORY LIMIT IS BELOW WHAT THE CHILD NEEDS: raise memory.soft or memory.hard of the pool"
	exited     = "child exited"
)

// check is how often the guards look.
const check = 50 * time.Millisecond

// limits are a pool's memory settings, with times that never come unless a test says otherwise: name, value, name, ….
func limits(settings ...string) map[string]string {
	m := map[string]string{"check": check.String(), "balloon": "1h", "grace": "1h", "hard_grace": "1h", "shutdown_wait": "1h"}
	for i := 0; i < len(settings); i += 2 {
		m[settings[i]] = settings[i+1]
	}
	return m
}

// scene is a system with one workerd. A job that was ended for its memory is dead at once unless flags say otherwise.
type scene struct {
	*rig.Rig
	t    *testing.T
	host *rig.Host
}

// newScene lets the test run beside others: most of its time is waiting.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	t.Parallel()
	return newSceneAlone(t, flags...)
}

func newSceneAlone(t *testing.T, flags ...string) *scene {
	t.Helper()
	return &scene{t: t, Rig: rig.New(t, append([]string{"--max-crashes", "1", "--backoff", "50ms,100ms"}, flags...)...)}
}

// pool is a pool of hogs that takes the jobs of the kind that is called as it is.
func pool(name string, command []string, processes, concurrency int, memory map[string]string) fleet.Pool {
	env := hog.Env()
	env["HOG_ORDERS"] = "body"
	return fleet.Pool{
		Name: name, Kinds: []string{name}, Mode: "pool", Command: command, Processes: processes, Concurrency: concurrency,
		Env: env, Memory: memory,
	}
}

// start starts the workerd with these pools.
func (s *scene) start(pools ...fleet.Pool) {
	s.t.Helper()
	s.host = s.Host("a", pools...)
	s.host.Start()
}

// job publishes a job for a pool: what it is to do, and the body.
func (s *scene) job(pool, entity, order string, body ...string) {
	s.t.Helper()
	s.Coordinator("job", "publish", rig.Queue, entity, "--kind", pool, "--data", strings.Join(append([]string{order}, body...), "\n"))
}

// line is a line of the log.
type line struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
	Pool    string    `json:"pool"`
	Child   int       `json:"child"`
	Error   string    `json:"error"`
}

// says matches lines of a pool with a message.
func says(pool, message string) func(line) bool {
	return func(l line) bool { return l.Pool == pool && l.Message == message }
}

// said lists the lines of the log so far that match.
func (s *scene) said(match func(line) bool) (lines []line) {
	s.t.Helper()
	text, err := os.ReadFile(s.host.Proc.Log)
	if err != nil {
		s.t.Fatal(err)
	}
	in := bufio.NewScanner(bytes.NewReader(text))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l line
		if json.Unmarshal(in.Bytes(), &l) == nil && match(l) {
			lines = append(lines, l)
		}
	}
	if err := in.Err(); err != nil {
		s.t.Fatal(err)
	}
	return lines
}

// await waits for the n-th line that matches, counted from 1.
func (s *scene) await(what string, n int, match func(line) bool) (found line) {
	s.t.Helper()
	s.eventually(what, func() bool {
		lines := s.said(match)
		if len(lines) >= n {
			found = lines[n-1]
		}
		return len(lines) >= n
	})
	return found
}

func (s *scene) eventually(what string, holds func() bool) {
	s.t.Helper()
	for end := time.Now().Add(rig.Bound); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not true in time: %s", what)
		}
		if s.host.Proc.Ended() {
			s.t.Fatalf("workerd ended before this was true: %s", what)
		}
	}
}

// begun waits until the job of an entity has begun in a pool, and returns the child.
func (s *scene) begun(pool, entity string) (child int) {
	s.t.Helper()
	return s.await(entity+" begins", 1, says(pool, "begins "+entity)).Child
}

// ended waits until the job of an entity has ended in a pool, and returns the child.
func (s *scene) ended(pool, entity string) (child int) {
	s.t.Helper()
	return s.await(entity+" ends", 1, says(pool, "ends "+entity)).Child
}

// beginnings is how often the job of an entity has begun.
func (s *scene) beginnings(pool, entity string) int {
	s.t.Helper()
	return len(s.said(says(pool, "begins "+entity)))
}

// goes waits until a child of a pool is gone for its memory, and holds it against the child and the limit that are
// expected.
func (s *scene) goes(pool string, child int, limit string) (over, gone line) {
	s.t.Helper()
	over = s.await("the guard acts", 1, func(l line) bool { return says(pool, overMemory)(l) && l.Child == child })
	gone = s.await("the child goes", 1, func(l line) bool { return says(pool, exited)(l) && l.Child == child })
	for _, l := range []line{over, gone} {
		if want := "above the " + limit; !strings.Contains(l.Error, want) || !strings.Contains(l.Error, "memory guard") {
			s.t.Errorf("it says %q, not %q", l.Error, want)
		}
	}
	return over, gone
}

// calm fails when anything was said of a pool's memory, or of the end of one of its children.
func (s *scene) calm(pool string) {
	s.t.Helper()
	for _, message := range []string{overMemory, tooLow, exited} {
		if lines := s.said(says(pool, message)); len(lines) > 0 {
			s.t.Errorf("it says %+v", lines[0])
		}
	}
}

// dead waits until the job of an entity is dead for its memory.
func (s *scene) dead(entity, limit string) (info streams.DeadInfo) {
	s.t.Helper()
	s.eventually("the job of "+entity+" is dead", func() bool {
		var list []streams.DeadInfo
		if err := s.Admin.JSON(s.t.Context(), &list, "dead", "ls", rig.Queue); err != nil {
			s.t.Fatal(err)
		}
		for _, d := range list {
			if d.Entity == entity {
				info = d
				return true
			}
		}
		return false
	})
	if info.Cause != "memory" || !strings.Contains(info.Error, "above the "+limit) {
		s.t.Errorf("the dead job says %q, %q", info.Cause, info.Error)
	}
	return info
}

// worker is what the others know of the workerd.
func (s *scene) worker() (w streams.SessionRecord) {
	s.t.Helper()
	var list []streams.SessionRecord
	if err := s.Admin.JSON(s.t.Context(), &list, "worker", "ls"); err != nil {
		s.t.Fatal(err)
	}
	if len(list) == 1 {
		w = list[0]
	}
	return w
}

// children are the pids of a pool's children, as soon as so many are known and up.
func (s *scene) children(pool string, n int) (pids []int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d children of %s are shown", n, pool), func() bool {
		pids = nil
		for _, c := range s.worker().Children {
			if c.Pool == pool && (c.State == "ready" || c.State == "busy") {
				pids = append(pids, c.PID)
			}
		}
		return len(pids) == n
	})
	return pids
}

// restarts waits until the list of workers shows so many memory restarts of a pool, and why the last child went.
func (s *scene) restarts(pool string, n int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d memory restarts of %s are shown", n, pool), func() bool {
		for _, p := range s.worker().Pools {
			if p.Name == pool {
				return p.Why["memory"] == n && p.LastExit != nil && strings.Contains(p.LastExit.Why, "memory guard")
			}
		}
		return false
	})
}

// finish waits until no job is left, and ends the workerd in order.
func (s *scene) finish() {
	s.t.Helper()
	s.AwaitEmpty(rig.Bound)
	s.host.Stop()
}

// alive says whether a process runs.
func alive(pid int) bool {
	p, err := proc.Read(pid)
	return err == nil && !p.Dead()
}
