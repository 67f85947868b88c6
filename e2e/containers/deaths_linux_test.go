package containers

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/proctest"
)

// stranger is a user that is not root; it needs no name.
const stranger = 65534

// trees is a pool whose jobs each have a tree of processes that is hard to kill beside them, started through prefix.
func (s *scene) trees(h string, slots int, prefix ...string) *rig.Host {
	s.t.Helper()
	dir := s.Path("trees-" + h)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		s.t.Fatal(err)
	}
	pool := s.SleepExec(slots)
	tree := proctest.Command(dir)
	tree[0] = s.copyOfSelf()
	pool.Command = slices.Concat(prefix, []string{"sh", "-c", `"$1" "$2" "$3" "$4" & exec "$0"`, pool.Command[0]}, tree)
	pool.Env["CHILD_STUBBORN"] = "1"
	host := s.Host(h, pool)
	host.Timeout, host.KillAfter = 3*time.Second, 500*time.Millisecond
	return host
}

// copyOfSelf is this program where any user can run it. Another process makes it: a file that is open for writing here
// cannot be executed.
func (s *scene) copyOfSelf() string {
	s.t.Helper()
	path := s.Path("self")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if out, err := exec.Command("cp", self(s.t), path).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	return path
}

// tree waits until so many trees of a host are complete, and has the next ones counted anew.
func (s *scene) tree(h *rig.Host, n int) []proctest.Member {
	s.t.Helper()
	all := proctest.Await(s.t, s.Path("trees-"+h.Name), n)
	files, err := filepath.Glob(filepath.Join(s.Path("trees-"+h.Name), "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			s.t.Fatal(err)
		}
	}
	return all
}

// deaths kills the top of one of two workerds, the group of the top of the other, and an engine, in rounds: the trees are
// dead, and the jobs run on.
func (s *scene) deaths(a, b *rig.Host, rounds int) {
	const n = 2
	a.Start()
	release := s.jobs(n)
	s.startsOn("a", n, 0)
	runs := n
	var died, again []time.Duration
	die := func(h, then *rig.Host, kill func() error) {
		s.t.Helper()
		trees := s.tree(h, n)
		at, since := record.Now(), time.Now()
		if err := kill(); err != nil {
			s.t.Fatal(err)
		}
		died = append(died, proctest.AwaitDead(s.t, trees, since))
		starts := s.startsOn(then.Name, n, at)
		again = append(again, time.Duration(starts[n-1].T-at))
		s.Fault(record.Kill{At: at, Until: record.Now(), Worker: h.Name})
		runs += n
	}
	for range rounds {
		b.Start()
		a.Dying()
		die(a, b, func() error { return a.Proc.Signal(syscall.SIGKILL) })
		<-a.Proc.Done()
		a.Start()
		b.Dying()
		die(b, a, func() error { return syscall.Kill(-b.Proc.PID(), syscall.SIGKILL) })
		<-b.Proc.Done()
		die(a, a, func() error { return syscall.Kill(engineOf(s.t, a), syscall.SIGKILL) })
	}
	slices.Sort(died)
	slices.Sort(again)
	s.t.Logf("%d deaths: all processes dead after %v at most (median %v), jobs run again after %v at most (median %v)", len(died),
		died[len(died)-1], died[len(died)/2], again[len(again)-1], again[len(again)/2])
	release()
	s.AwaitFinished(n, rig.Bound)
	s.AwaitEmpty(rig.Bound)
	if rep := s.Check(); rep.Runs != runs {
		s.t.Errorf("%d runs, %d expected", rep.Runs, runs)
	}
}

// Deaths as an ordinary user, while the processors are busy and other processes start and die.
func TestScenario05AsAnOrdinaryUserUnderLoad(t *testing.T) {
	stop, busy := make(chan struct{}), make(chan struct{}, 4)
	for range cap(busy) {
		go func() {
			defer func() { busy <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if pid, err := syscall.ForkExec("/bin/true", []string{"true"}, nil); err == nil {
					_, _ = syscall.Wait4(pid, nil, 0, nil)
				}
				runtime.Gosched()
			}
		}()
	}
	defer func() {
		close(stop)
		for range cap(busy) {
			<-busy
		}
	}()
	s := newScene(t, "--max-lost", "0")
	a, b := s.trees("a", 2), s.trees("b", 2)
	if os.Getuid() == 0 {
		s.openTo(stranger)
		for _, h := range []*rig.Host{a, b} {
			s.wrap(h, `exec setpriv --reuid=65534 --regid=65534 --clear-groups "$workerd" "$@"`)
		}
	}
	s.deaths(a, b, rig.Rounds(t, 1))
}

// A program that changes its user loses the signal at its parent's death.
func TestScenario06Setpriv(t *testing.T) {
	s := newScene(t, "--max-lost", "0")
	prefix := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	if os.Getuid() == 0 {
		s.openTo(stranger)
	} else {
		t.Log("only root can change the user: the trees are started as they are")
		prefix = nil
	}
	s.deaths(s.trees("a", 2, prefix...), s.trees("b", 2, prefix...), rig.Rounds(t, 1))
}

// The signal at a parent's death follows the thread that started a child. Threads of the engine end when pools are taken out
// of service: no child of another pool dies of that.
func TestScenario07ThreadsThatEnd(t *testing.T) {
	s := newScene(t)
	stay, brief := s.SleepPool(3, 1), s.SleepExec(4)
	stay.Name, stay.Kinds, brief.Name = "stay", []string{"stay"}, "brief0"
	h := s.Host("a", stay, brief)
	h.Debug = true
	h.Start()
	config := s.read("a.yaml")
	var list []rig.Job
	for i := range 400 {
		list = append(list, rig.Job{Entity: "e." + string(rune('a'+i%20))})
	}
	s.Import(list...)
	n := rig.Size(12, 100)
	for i := range n {
		s.write("a.yaml", replaceOnce(t, config, "name: brief0", "name: brief"+string(rune('A'+i%26))))
		h.Signal(syscall.SIGHUP)
		eventually(t, "the configuration was read anew", func() bool { return len(said(t, h, "the configuration was read anew")) > i })
	}
	s.AwaitFinished(len(list), rig.Bound)
	s.AwaitEmpty(rig.Bound)
	started, pools := 0, map[any]bool{}
	for _, line := range said(t, h, "child started") {
		if line["pool"] == "stay" {
			started++
		}
	}
	for _, line := range said(t, h, "child exited") {
		pools[line["pool"]] = true
	}
	if started != 3 || pools["stay"] {
		t.Errorf("%d children of a pool of 3 were started; of these pools some exited: %v", started, pools)
	}
	t.Logf("%d pools were taken out of service beside a pool of 3 children that live on", n)
	if rep := s.Check(); rep.Again != 0 {
		t.Errorf("%d jobs were run again", rep.Again)
	}
}

// Processes that start their successor and exit, in the group of a job and from session to session: they end with the job,
// and with the engine.
func TestScenario08Hoppers(t *testing.T) {
	s := newScene(t, "--max-lost", "0")
	exe := self(t)
	hops := s.Path("hops")
	h := s.Host("a", fleet.Pool{
		Name: "hop", Kinds: []string{"*"}, Mode: "exec", Concurrency: 2, Env: map[string]string{"HOPS": hops},
		Command: []string{"sh", "-c", `"$0" ` + hopInGroup + ` & "$0" ` + hopSessions + ` & if [ "$JOB_ENTITY" = e.wait ]; then sleep 1000; else sleep 0.2; fi`, exe},
	})
	h.Start()
	none := func(when string) {
		t.Helper()
		for range 2 { // they are hard to see
			if carried("HOPS", hops) {
				t.Errorf("%s some hop on", when)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for range rig.Rounds(t, 2) {
		s.Coordinator("job", "publish", rig.Queue, "e.short")
		eventually(t, "they hop", func() bool { return s.read("hops") != "" })
		s.AwaitEmpty(rig.Bound)
		none("after their job")
		s.write("hops", "")
	}
	s.Coordinator("job", "publish", rig.Queue, "e.wait")
	eventually(t, "they hop", func() bool { return s.read("hops") != "" })
	s.Coordinator("queue", "edit", rig.Queue, "--max-lost", "1") // it is not to run again
	if err := syscall.Kill(engineOf(t, h), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next engine runs", func() bool { return len(said(t, h, "running")) == 2 })
	s.AwaitEmpty(rig.Bound)
	none("after their engine")
	h.Stop()
}
