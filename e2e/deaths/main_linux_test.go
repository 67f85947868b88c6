package deaths

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/proctest"
	"github.com/seriatim/seriatim/lifecycle/guardian"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

func TestMain(m *testing.M) {
	proctest.Main()
	rig.Main(m)
}

// scene is a system whose jobs have trees of processes beside them.
type scene struct {
	*rig.Rig
	t      *testing.T
	starts []record.Event
}

// newScene lets the test run beside others, because most of its time is waiting; but not when rounds are asked for, whose
// times are to be looked at.
func newScene(t *testing.T, flags ...string) *scene {
	t.Helper()
	if os.Getenv("SERIATIM_ROUNDS") == "" {
		t.Parallel()
	}
	s := &scene{Rig: rig.New(t, flags...), t: t}
	s.Tail.On = func(e record.Event) {
		if e.What == record.Start {
			s.starts = append(s.starts, e)
		}
	}
	return s
}

// host is a workerd whose jobs each start a tree, in a folder of the host, and do not heed TERM.
func (s *scene) host(name string, slots int) *rig.Host {
	s.t.Helper()
	dir := s.Path("trees-" + name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	pool := s.SleepExec(slots)
	tree := proctest.Command(dir)
	script := `"$1" "$2" "$3" "$4" & exec "$0"`
	pool.Command = append([]string{"sh", "-c", script, pool.Command[0]}, tree...)
	pool.Env["CHILD_STUBBORN"] = "1"
	h := s.Host(name, pool)
	h.Timeout, h.KillAfter = 3*time.Second, 500*time.Millisecond
	return h
}

// tree waits until a host's trees are complete and returns their processes. The next ones are counted anew.
func (s *scene) tree(h *rig.Host, trees int) []proctest.Member {
	s.t.Helper()
	dir := s.Path("trees-" + h.Name)
	all := proctest.Await(s.t, dir, trees)
	s.forget(h)
	return all
}

// forget removes what former trees have written.
func (s *scene) forget(h *rig.Host) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Path("trees-"+h.Name), "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			s.t.Fatal(err)
		}
	}
}

// startsOn waits until so many jobs have started on a worker since from.
func (s *scene) startsOn(worker string, n int, from int64) []record.Event {
	s.t.Helper()
	var found []record.Event
	s.Await(fmt.Sprintf("%d starts on %s", n, worker), rig.Bound, func(*fleet.Tail) bool {
		found = nil
		for _, e := range s.starts {
			if e.T > from && (worker == "" || e.Worker == worker) {
				found = append(found, e)
			}
		}
		return len(found) >= n
	})
	return found
}

// engineOf is the engine's pid of a workerd.
func engineOf(t *testing.T, h *rig.Host) int {
	t.Helper()
	for end := time.Now().Add(rig.Bound); time.Now().Before(end); time.Sleep(time.Millisecond) {
		pids, err := proc.All()
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			s, err := proc.Read(pid)
			if args := proc.Args(pid); err == nil && s.PPID == h.Proc.PID() && !s.Dead() && len(args) > 0 && args[0] == guardian.EngineName {
				return pid
			}
		}
	}
	t.Fatal("it has no engine")
	return 0
}

// report prints times, the longest and the one in the middle.
func report(t *testing.T, what string, times []time.Duration) {
	t.Helper()
	slices.Sort(times)
	t.Logf("%s, %d times: median %v, longest %v", what, len(times), times[len(times)/2].Round(100*time.Microsecond), times[len(times)-1].Round(100*time.Microsecond))
}

// jobs are so many of as many entities, which wait for a file.
func (s *scene) jobs(n int) (release func()) {
	s.t.Helper()
	end := s.Path("end")
	list := make([]rig.Job, n)
	for i := range list {
		list[i] = rig.Job{Entity: fmt.Sprintf("e.%d", i), Until: end}
	}
	s.Import(list...)
	return func() {
		s.t.Helper()
		if err := os.WriteFile(end, nil, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}
