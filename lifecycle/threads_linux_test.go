package lifecycle_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

func init() { otherRoles["threads"] = actAsThreads }

// A process per job must not be a thread per job: when no thread can be had any more, the Go runtime ends everything. It is
// looked at in a process of its own, because threads stay.
func TestJobsNeedNoThreads(t *testing.T) {
	cfg := children(t, "threads")
	cfg.Mode, cfg.Concurrency = lifecycle.ModeExec, 1
	cfg.Env["THREADS_TEST_DIR"] = t.TempDir()
	h := start(t, cfg)
	h.want(h.run("", ""), lifecycle.Done, "")
}

func actAsThreads() {
	const jobs, most = 60, 20
	dir := os.Getenv("THREADS_TEST_DIR")
	fail := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
		os.Exit(1)
	}
	threads := func() int {
		s, err := proc.Read(os.Getpid())
		if err != nil {
			fail("%v", err)
		}
		return s.Threads
	}
	lifecycle.ReserveThreads(30)
	reserved := threads()
	if reserved < 30 {
		fail("%d threads, with 30 in reserve", reserved)
	}
	pool, err := lifecycle.New(lifecycle.Config{
		Name: "p", Mode: lifecycle.ModeExec, Concurrency: jobs, EmptyWait: plenty,
		Command: []string{"sh", "-c", `: > "$0/$$"; exec sleep 1000`, dir},
	})
	if err != nil {
		fail("%v", err)
	}
	if err := pool.Start(context.Background()); err != nil {
		fail("%v", err)
	}
	results := make(chan lifecycle.Result, jobs)
	for range jobs {
		go func() { results <- pool.Run(context.Background(), lifecycle.Job{}) }()
	}
	for n, end := 0, time.Now().Add(plenty); n < jobs; time.Sleep(5 * time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if n = len(files); time.Now().After(end) {
			fail("only %d jobs run", n)
		}
	}
	if now := threads(); now > reserved+most {
		fail("%d threads, and %d while %d jobs run", reserved, now, jobs)
	}
	pool.Stop(ended(lifecycle.ErrKillNow))
	for range jobs {
		if r := <-results; r.Cause != lifecycle.Interrupted || !r.GroupEmpty {
			fail("a job ended so: %+v", r)
		}
	}
}
