// Command child is a job for tests: it writes down when it starts and finishes and takes as long as its body says. It
// runs as the child of a pool (frames on descriptors 3 and 4) when SERIATIM_FDS is set, else as one process per job.
//
// The body is a Job as JSON. The environment says where the record is (CHILD_RECORD), where the locks are (CHILD_LOCKS),
// what the worker is called (CHILD_WORKER), how many jobs a pool's child takes at once (CHILD_CONCURRENCY), and whether
// SIGTERM is not heeded (CHILD_STUBBORN=1).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/seriatim/seriatim/e2e/record"
)

func main() { os.Exit(run()) }

func run() int {
	ctx := context.Background()
	if os.Getenv("CHILD_STUBBORN") == "1" {
		signal.Ignore(syscall.SIGTERM)
	} else {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}
	rec, err := record.Open(os.Getenv("CHILD_RECORD"))
	if err != nil {
		return failed(err)
	}
	rec.Worker = os.Getenv("CHILD_WORKER")
	w := worker{rec: rec, locks: os.Getenv("CHILD_LOCKS")}
	if fds := os.Getenv("SERIATIM_FDS"); fds != "" {
		if err := w.serve(ctx, fds); err != nil {
			return failed(err)
		}
		return 0
	}
	if err := w.one(ctx); err != nil {
		return failed(err)
	}
	return 0
}

// failed says why; 75 asks for another try.
func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 75
}

// one runs the job that environment and standard input describe.
func (w worker) one(ctx context.Context) error {
	seq, err1 := strconv.ParseUint(os.Getenv("JOB_SEQ"), 10, 64)
	fence, err2 := strconv.ParseUint(os.Getenv("JOB_FENCE"), 10, 64)
	attempt, err3 := strconv.Atoi(os.Getenv("JOB_ATTEMPT"))
	body, err4 := io.ReadAll(os.Stdin)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	return w.do(ctx, os.Getenv("JOB_ENTITY"), seq, fence, attempt, body)
}

// do runs one job.
func (w worker) do(ctx context.Context, entity string, seq, fence uint64, attempt int, body []byte) error {
	var job Job
	if err := json.Unmarshal(body, &job); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	run := record.Run{Entity: entity, Op: job.Op, Seq: seq, Fence: fence, Attempt: attempt}
	unlock, err := w.lock(entity)
	if errors.Is(err, errLockBusy) {
		return errors.Join(err, w.rec.LockBusy(run))
	}
	if err != nil {
		return err
	}
	defer unlock()
	run.Locked = true
	if err := w.rec.Start(run); err != nil {
		return err
	}
	if err := job.wait(ctx); err != nil {
		return errors.Join(err, w.rec.Failed(run))
	}
	return w.rec.Finish(run)
}
