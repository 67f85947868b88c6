package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/examples/history"
)

func ops(t *testing.T, n int) []history.Op {
	t.Helper()
	all, err := history.All()
	if err != nil {
		t.Fatal(err)
	}
	return all[:n]
}

const hashA, hashB = "00000000000000aa", "00000000000000bb"

var (
	add    = history.Op{N: 1, Kind: "A", Old: history.None, New: hashA, Path: `a "b".go`}
	change = history.Op{N: 2, Kind: "M", Old: hashA, New: hashB, Path: `a "b".go`}
	aside  = history.Op{N: 3, Kind: "A", Old: history.None, New: hashA, Path: "aside"}
)

// Two children share a history: lanes side by side, each lane in order, and some jobs as shell scripts.
func TestChildrenReplayAHistory(t *testing.T) {
	const n = 400
	p, todo := newPlace(t), ops(t, n)
	children := []*parent{p.start("2ms"), p.start("2ms")}
	lanes := map[string][]history.Op{}
	for _, op := range todo {
		lanes[op.Path] = append(lanes[op.Path], op)
	}
	for len(lanes) > 0 {
		sent := make([]int, len(children))
		i := 0
		for path, lane := range lanes {
			if lane[0].N%20 == 0 {
				if code, stderr := p.execJob(lane[0], "../child.sh"); code != 0 {
					t.Fatalf("%d: %s", code, stderr)
				}
			} else {
				children[i%2].run(lane[0])
				sent[i%2]++
				i++
			}
			if lanes[path] = lane[1:]; len(lane) == 1 {
				delete(lanes, path)
			}
		}
		for i, c := range children {
			for range sent[i] {
				if a := c.next(); a.Done == 0 {
					t.Fatalf("%+v", a)
				}
			}
		}
	}
	for _, c := range children {
		c.send(`{"stop":true}` + "\n")
		if code := c.wait(); code != 0 {
			t.Errorf("exit %d: %s", code, c.stderr.String())
		}
	}
	if exist, differences, err := history.Compare(p.state(), todo); err != nil || len(differences) > 0 || exist != len(history.Final(todo)) {
		t.Errorf("%d files, %q, %v", exist, differences, err)
	}
	r := record.Check(p.log(), history.Expected(todo), nil)
	if !r.OK() || r.Finished != n || r.Peak < 2 {
		t.Errorf("%s", r)
	}
}

func TestChildTellsWhatWentWrong(t *testing.T) {
	p := newPlace(t)
	c := p.start("0s", "-concurrency", "3")
	c.run(change)
	if a := c.next(); a.Fail != change.N || a.Retry || !strings.Contains(a.Error, "refused") {
		t.Errorf("%+v", a)
	}
	c.send(`{"run":9,"entity":"file.x","unknown":true}` + "\n" + `{"unknown":1}` + "\n")
	if a := c.next(); a.Fail != 9 || a.Retry || !strings.Contains(a.Error, "body") {
		t.Errorf("%+v", a)
	}
	c.run(add)
	if a := c.next(); a.Done != add.N {
		t.Errorf("%+v", a)
	}
	if got := p.events(); got != "start refused start finish" {
		t.Error(got)
	}
}

// A second process that is given a job of an entity in work finds the lock busy, and the checker says so.
func TestChildrenFindOverlaps(t *testing.T) {
	p := newPlace(t)
	slow := p.start("10h")
	slow.run(add)
	p.started(1)
	fast := p.start("0s")
	fast.run(change)
	if a := fast.next(); a.Fail != change.N || !a.Retry || !strings.Contains(a.Error, "lock is busy") {
		t.Errorf("%+v", a)
	}
	if code, stderr := p.execJob(change, program, "exec"); code != exitRetry || !strings.Contains(stderr, "lock is busy") {
		t.Errorf("%d, %s", code, stderr)
	}
	r := record.Check(p.log(), history.Expected([]history.Op{add, change}), nil)
	if r.OK() || r.LockBusy != 2 {
		t.Errorf("%s", r)
	}
}

func TestChildCancelsOneRun(t *testing.T) {
	p := newPlace(t)
	c := p.start("10h")
	c.run(add)
	c.run(aside)
	p.started(2)
	c.send(`{"cancel":77}` + "\n" + `{"cancel":1}` + "\n")
	if a := c.next(); a.Fail != add.N || !a.Retry || !strings.Contains(a.Error, "cancelled") {
		t.Errorf("%+v", a)
	}
	c.send(`{"stop":true}` + "\n") // what runs goes on, nothing new is taken, and cancel is still heard
	c.run(change)
	if a := c.next(); a.Fail != change.N || !a.Retry {
		t.Errorf("%+v", a)
	}
	c.send(`{"cancel":3}` + "\n")
	if a := c.next(); a.Fail != aside.N || c.wait() != 0 {
		t.Errorf("%+v, %s", a, c.stderr.String())
	}
	if got := p.events(); got != "start start failed failed" {
		t.Error(got)
	}
}

func TestChildEndsWith(t *testing.T) {
	for name, end := range map[string]func(*parent){
		"its parent":           func(c *parent) { _ = c.to.Close() },
		"TERM":                 func(c *parent) { _ = c.cmd.Process.Signal(syscall.SIGTERM) },
		"a frame that is none": func(c *parent) { c.send("hello\n") },
		"a body without end":   func(c *parent) { c.send(`{"run":5,"len":-1}` + "\n") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c := p.start("10h")
			c.run(add)
			p.started(1)
			end(c)
			if a := c.next(); a.Fail != add.N || !a.Retry {
				t.Errorf("%+v", a)
			}
			if code := c.wait(); code != 1 || c.stderr.Len() == 0 || p.events() != "start failed" {
				t.Errorf("exit %d, %q, %s", code, c.stderr.String(), p.events())
			}
		})
	}
}

// Killed before its state was written or after it: the job comes again, and is not refused.
func TestChildIsKilledAndItsJobRunsAgain(t *testing.T) {
	p := newPlace(t)
	var kills []record.Kill
	c := p.start("10h")
	c.run(add)
	p.started(1)
	kills = append(kills, record.Kill{At: record.Now(), PID: c.cmd.Process.Pid})
	_ = c.cmd.Process.Kill()
	c.wait()
	c = p.start("0s")
	c.run(add)
	if a := c.next(); a.Done != add.N {
		t.Fatalf("%+v", a)
	}
	c.run(change)
	if a := c.next(); a.Done != change.N {
		t.Fatalf("%+v", a)
	}
	kills = append(kills, record.Kill{At: record.Now(), Worker: "w1"})
	_ = c.cmd.Process.Kill()
	c.wait()
	c = p.start("0s")
	c.run(change)
	if a := c.next(); a.Done != change.N {
		t.Fatalf("%+v", a)
	}
	todo := []history.Op{add, change}
	if exist, differences, err := history.Compare(p.state(), todo); err != nil || exist != 1 || len(differences) > 0 {
		t.Errorf("%d, %q, %v", exist, differences, err)
	}
	if r := record.Check(p.log(), history.Expected(todo), kills); !r.OK() || r.AgainKilled != 2 || r.Cut != 1 {
		t.Errorf("%s", r)
	}
	if r := record.Check(p.log(), history.Expected(todo), nil); r.AgainUnexplained != 2 {
		t.Errorf("%s", r)
	}
}

func TestExecChild(t *testing.T) {
	for _, command := range [][]string{{program, "exec"}, {"../child.sh"}} {
		p := newPlace(t)
		for _, c := range []struct {
			op   history.Op
			code int
		}{{change, exitForGood}, {add, exitDone}, {add, exitDone}, {change, exitDone}, {add, exitForGood}} {
			if code, stderr := p.execJob(c.op, command...); code != c.code || (stderr == "") != (code == exitDone) {
				t.Errorf("%v operation %d: exit %d, %s", command, c.op.N, code, stderr)
			}
		}
		if got := p.events(); got != "start refused start finish start finish start finish start refused" {
			t.Error(got)
		}
	}
}

func TestChildIsStartedWrongly(t *testing.T) {
	p := newPlace(t)
	run := func(env []string, args ...string) int {
		cmd := exec.Command(program, args...)
		cmd.Env = env
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	for name, c := range map[string]struct {
		code int
		env  []string
		args []string
	}{
		"no state":       {2, nil, nil},
		"no duration":    {2, p.env("soon"), nil},
		"no concurrency": {2, p.env("1s"), []string{"-concurrency", "0"}},
		"no mode":        {2, p.env("1s"), []string{"dance"}},
		"no descriptors": {1, p.env("1s"), nil},
		"closed ones":    {1, append(p.env("1s"), "SERIATIM_FDS=30,40"), []string{"pool"}},
		"no job":         {exitForGood, p.env("1s"), []string{"exec"}},
		"no record":      {1, append(p.env("1s"), "HISTORY_RECORD="+p.dir), nil},
	} {
		if code := run(c.env, c.args...); code != c.code {
			t.Errorf("%s: exit %d, not %d", name, code, c.code)
		}
	}
}

// A dead process holds no lock.
func TestTheLockDiesWithItsProcess(t *testing.T) {
	p := newPlace(t)
	c := p.start("10h")
	c.run(add)
	p.started(1)
	_ = c.cmd.Process.Kill()
	c.wait()
	locks, err := filepath.Glob(filepath.Join(p.state(), "locks", "*"))
	if err != nil || len(locks) != 1 {
		t.Fatalf("%v, %v", locks, err)
	}
	f, err := os.Open(locks[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the lock is still held: %v", err)
	}
}

// What a no-op job costs in these children, so that a demo's numbers can be read.
func BenchmarkChild(b *testing.B) {
	op := history.Op{Kind: "A", Old: history.None, New: hashA, Path: "x"}
	b.Run("pool", func(b *testing.B) {
		c := newPlace(b).start("0s")
		for op.N = 1; b.Loop(); op.N++ {
			op.Path = "x" + strconv.Itoa(op.N)
			c.run(op)
			_ = c.next()
		}
	})
	b.Run("shell", func(b *testing.B) {
		p := newPlace(b)
		for op.N = 1; b.Loop(); op.N++ {
			op.Path = "x" + strconv.Itoa(op.N)
			_, _ = p.execJob(op, "../child.sh")
		}
	})
}
