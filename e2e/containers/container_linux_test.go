package containers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// grace is the time that a container gets between TERM and KILL: that of Kubernetes and ECS.
const grace = 30 * time.Second

// container is a workerd in a pid namespace of its own.
type container struct {
	*rig.Host
	s *scene
}

// contain lets a command line, in which "$workerd" "$@" is the workerd, be the first process of a pid namespace.
func (s *scene) contain(h *rig.Host, line string) *container {
	s.t.Helper()
	user := ""
	if os.Getuid() != 0 {
		user = "-Ur "
	}
	run := s.Path("run-" + h.Name)
	s.wrap(h, "export SERIATIM_RUN_DIR="+run+" NO_COLOR=1\nexec unshare -pf --kill-child=KILL --mount-proc "+user+line)
	return &container{h, s}
}

// container is one with a pool of waiting jobs.
func (s *scene) container(name, line string, slots int) *container {
	s.t.Helper()
	h := s.Host(name, s.SleepExec(slots))
	h.Timeout = 20 * time.Second // within the grace
	return s.contain(h, line)
}

// execForm is how a container should start it.
const execForm = `"$workerd" "$@"`

// init1 is the first process of the namespace, as it is seen from here.
func (c *container) init1() int {
	c.s.t.Helper()
	return childOf(c.s.t, c.Proc.PID(), func(int) bool { return true })
}

// stop does what a container runtime does. Between TERM and KILL the test may do something. It returns the exit code, -1
// after KILL, and how long it took.
func (c *container) stop(grace time.Duration, meanwhile ...func()) (code int, took time.Duration) {
	c.s.t.Helper()
	c.Dying()
	first := c.init1()
	begun := time.Now()
	if err := syscall.Kill(first, syscall.SIGTERM); err != nil {
		c.s.t.Fatal(err)
	}
	for _, do := range meanwhile {
		do()
	}
	killed := false
	select {
	case <-c.Proc.Done():
	case <-time.After(grace):
		killed = true
		if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
			c.s.t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	err := c.Proc.Wait(c.s.t.Context())
	if err != nil && !errors.As(err, &exit) {
		c.s.t.Fatal(err)
	}
	switch {
	case killed:
		code = -1
	case exit != nil:
		code = exit.ExitCode()
	}
	return code, time.Since(begun)
}

// inside runs one of workerd's commands in the container.
func (c *container) inside(args ...string) string {
	c.s.t.Helper()
	flags := []string{"-t", fmt.Sprint(c.init1()), "-m", "-p"}
	if os.Getuid() != 0 {
		flags = append(flags, "-U", "--preserve-credentials")
	}
	cmd := exec.CommandContext(c.s.t.Context(), "nsenter", append(append(flags, c.real()), args...)...)
	cmd.Env = append(os.Environ(), "SERIATIM_RUN_DIR="+c.s.Path("run-"+c.Name))
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.s.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// real is workerd's own file.
func (c *container) real() string {
	_, rest, _ := strings.Cut(c.s.read(c.Name+".sh"), "workerd=")
	path, _, _ := strings.Cut(rest, "\n")
	return path
}

// stories are the states that each worker's record went through, as everybody sees them.
type stories struct {
	mu     sync.Mutex
	states map[string][]string
}

// follow follows the records of all workers from now on, live.
func (s *scene) follow() *stories {
	s.t.Helper()
	kv, err := s.Server.JetStream().KeyValue(s.t.Context(), subjects.WorkersBucket)
	if err != nil {
		s.t.Fatal(err)
	}
	w, err := kv.WatchAll(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	all, done := &stories{states: map[string][]string{}}, make(chan struct{})
	go func() {
		defer close(done)
		for e := range w.Updates() {
			if e == nil || len(bytes.TrimSpace(e.Value())) == 0 {
				continue // up to now, or expired
			}
			if r, err := streams.DecodeSession(e.Value()); err == nil {
				all.add(r)
			}
		}
	}()
	s.t.Cleanup(func() {
		_ = w.Stop() // the server may be gone
		<-done
	})
	return all
}

func (a *stories) add(r streams.SessionRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if of := a.states[r.Worker]; len(of) == 0 || of[len(of)-1] != r.State {
		a.states[r.Worker] = append(of, r.State)
	}
}

// await waits until a worker's story has these states in this order, and perhaps others between them.
func (a *stories) await(t *testing.T, worker string, states ...string) (story []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is %v", worker, states), func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		story = slices.Clone(a.states[worker])
		left := states
		for _, state := range story {
			if len(left) > 0 && state == left[0] {
				left = left[1:]
			}
		}
		return len(left) == 0
	})
	return story
}

// of waits until a worker's story is over, and wants it to be this one.
func (a *stories) of(t *testing.T, worker string, want ...string) {
	t.Helper()
	got := a.await(t, worker, want[len(want)-1])
	if got[0] == streams.StateStarting {
		got = got[1:] // it may be too short to be written
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s went through %v, want %v", worker, got, want)
	}
}
