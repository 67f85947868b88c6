// Package rig sets up a whole Seriatim for a test: a nats-server process, a queue, workerds with children that keep a
// record, and the checker at the end. It is package fleet with a *testing.T.
//
// # Invariants
//
// The real binaries are built once per test run. When a test ends, everything that it started is dead, and a process
// that outlived its workerd is an error of the test. All methods belong to the test's goroutine.
//
// # On failure
//
// What cannot be set up, or does not happen within its bound, ends the test at once; the ends of all logs follow. The
// bounds are there to end a test that hangs, not to measure: they are many times what is needed.
package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/internal/natstest"
)

// Queue is the name of every rig's queue.
const Queue = "q"

// Bound is how long anything may take that is not slow by itself.
const Bound = 2 * time.Minute

// SoonLost is the lease where the end of one is waited for. With a shorter one a host that stands still for two seconds
// would end sessions that nobody meant.
const SoonLost = "10s"

// Rig is one test's system.
type Rig struct {
	Dir string
	// Servers are the processes, Server the first of them.
	Servers []*natstest.Proc
	Server  *natstest.Proc
	Admin   fleet.Coordinator
	// Tail reads along in the record; Await polls it.
	Tail *fleet.Tail

	t        testing.TB
	leaf     *natstest.Proc          // where all but the test itself connects, see NewLeaf
	ways     map[[2]int]*fleet.Proxy // from one server to another, by index
	apart    sync.Map                // the servers that are cut off, by index
	hosts    []*Host
	expected []record.Job
	kills    []record.Kill
}

// New starts a server and makes the queue, with the flags of `coordinator queue add` given.
func New(t testing.TB, flags ...string) *Rig {
	t.Helper()
	return NewCluster(t, 1, flags...)
}

func empty(t testing.TB) *Rig {
	t.Helper()
	dir := t.TempDir()
	r := &Rig{t: t, Dir: dir, Tail: fleet.NewTail(filepath.Join(dir, "record"))}
	if err := os.Mkdir(r.Path("locks"), 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin makes the queue.
func (r *Rig) begin(flags []string) {
	r.t.Helper()
	r.Server = r.Servers[0]
	at, domain := r.entry()
	// The queue is made by admin; what follows has the rights of a role.
	r.Admin = fleet.Coordinator{Binary: Binary(r.t, fleet.Build{Name: "coordinator"}), URL: at, Domain: domain, Mark: r.Dir}
	add := append([]string{"queue", "add", Queue}, flags...)
	for tries := 1; ; tries++ {
		ctx, cancel := context.WithTimeout(r.t.Context(), Bound)
		_, err := r.Admin.Run(ctx, add...)
		cancel()
		if err == nil {
			break
		}
		// Servers that were just started may elect once more, and what is asked meanwhile is never answered. It is made
		// whole by asking again.
		if r.t.Logf("try %d: %v", tries, err); tries == 3 || len(r.Servers) == 1 {
			r.t.Fatal(err)
		}
	}
	r.Admin.URLFor = func(args []string) string {
		at, _ := r.entry()
		return As(roleOf(args), at)
	}
	r.t.Cleanup(r.cleanUp)
}

// Path is a file in the rig's folder.
func (r *Rig) Path(name string) string { return filepath.Join(r.Dir, name) }

// Touch makes an empty file in the rig's folder, such as one that jobs wait for.
func (r *Rig) Touch(name string) {
	r.t.Helper()
	if err := os.WriteFile(r.Path(name), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// Coordinator runs a command that must succeed.
func (r *Rig) Coordinator(args ...string) []byte {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), Bound)
	defer cancel()
	out, err := r.Admin.Run(ctx, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// Meddler is one for the rig's queue.
func (r *Rig) Meddler() *fleet.Meddler {
	r.t.Helper()
	m, err := fleet.NewMeddler(r.URL(), Queue)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(m.Close)
	return m
}

// Await waits until something stands in the record. A workerd that ends by itself ends the test.
func (r *Rig) Await(what string, bound time.Duration, reached func(*fleet.Tail) bool) {
	r.t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(2 * time.Millisecond) {
		if err := r.Tail.Poll(); err != nil {
			r.t.Fatal(err)
		}
		if reached(r.Tail) {
			return
		}
		for _, h := range r.hosts {
			if h.Proc != nil && h.Proc.Ended() && !h.gone {
				r.t.Fatalf("worker %s ended by itself: %v", h.Name, h.Proc.Wait(r.t.Context()))
			}
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s: not within %s; %d jobs finished, %d run", what, bound, r.Tail.Finished, len(r.Tail.Open()))
		}
	}
}

// AwaitFinished waits until so many jobs have finished.
func (r *Rig) AwaitFinished(n int, bound time.Duration) {
	r.t.Helper()
	r.Await(fmt.Sprintf("%d jobs finished", n), bound, func(t *fleet.Tail) bool { return t.Finished >= n })
}

// AwaitEmpty waits until the queue has no unfinished job.
func (r *Rig) AwaitEmpty(bound time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(50 * time.Millisecond) {
		info, err := r.Admin.QueueInfo(r.t.Context(), Queue)
		if err == nil && info.Jobs == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("the queue is not empty after %s: %d jobs, %v", bound, info.Jobs, err)
		}
	}
}

// Expect adds jobs that the checker is to expect.
func (r *Rig) Expect(jobs ...record.Job) { r.expected = append(r.expected, jobs...) }

// Fault adds a fault that may have cut runs short.
func (r *Rig) Fault(k record.Kill) { r.kills = append(r.kills, k) }

// Check stops all workers and gives the record to the checker. What it finds is an error of the test.
func (r *Rig) Check() record.Report {
	r.t.Helper()
	for _, h := range r.hosts {
		h.Stop()
	}
	report := r.Judge()
	if !report.OK() {
		r.t.Errorf("the checker found:\n%s", report)
	}
	return report
}

// Judge gives the record as it stands to the checker.
func (r *Rig) Judge() record.Report {
	r.t.Helper()
	log, err := record.ReadFiles(r.Path("record"))
	if err != nil {
		r.t.Fatal(err)
	}
	return record.Check(log, r.expected, r.kills)
}

func (r *Rig) cleanUp() {
	for _, h := range r.hosts {
		h.end()
	}
	var left []int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if left = fleet.Leftovers(r.Dir); len(left) == 0 {
			break
		}
	}
	for _, pid := range left {
		r.t.Errorf("process %d outlived its workerd", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it carries our mark
	}
	if r.t.Failed() {
		r.logs()
	}
	if keep := os.Getenv("SERIATIM_KEEP"); keep != "" {
		_ = os.CopyFS(keep, os.DirFS(r.Dir)) // for people; what cannot be copied is not
	}
}

// logs shows the ends of all logs.
func (r *Rig) logs() {
	paths, _ := filepath.Glob(r.Path("*.log")) // the pattern is well formed
	slices.Sort(paths)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		const last = 25
		r.t.Logf("%s, the last of %d lines:\n%s", filepath.Base(path), len(lines), strings.Join(lines[max(0, len(lines)-last):], "\n"))
	}
}
