package failures

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/worker"
)

// The kinds of its jobs, beside those that take a moment.
const (
	kindPanic = "panic"
	kindNote  = "note" // writes down its entity, in the file that the body names
)

// work is a program with a worker in it: a user's own, with handlers in place of processes. It keeps a record as
// e2e/child does, but for the lock.
func work() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	rec, err := record.Open(os.Getenv("WORKER_RECORD"))
	if err != nil {
		return failed(err)
	}
	rec.Worker = os.Getenv("WORKER_NAME")
	nc, err := streams.Connect(ctx, streams.Options{URL: os.Getenv("WORKER_URL"), Name: rec.Worker})
	if err != nil {
		return failed(err)
	}
	defer nc.Close()
	w, err := worker.Start(ctx, worker.Options{
		Conn: nc, Queues: []string{"q"}, Slots: 4, Handlers: map[string]worker.Handler{
			kindPanic: func(context.Context, *worker.Job) error {
				time.Sleep(poisonAfter)
				panic("nobody had thought of this")
			},
			kindNote: func(_ context.Context, j *worker.Job) error {
				return os.WriteFile(string(j.Data), []byte(j.Entity+"\n"), 0o644)
			},
			worker.AnyKind: func(ctx context.Context, j *worker.Job) error { return slow(ctx, rec, j) },
		},
	})
	if err != nil {
		return failed(err)
	}
	fmt.Println("up")
	<-ctx.Done()
	if err := w.Stop(context.Background()); err != nil {
		return failed(err)
	}
	return 0
}

// slow is a job that takes a moment.
func slow(ctx context.Context, rec *record.Recorder, j *worker.Job) error {
	var op int
	if _, err := fmt.Sscanf(string(j.Data), `{"op":%d`, &op); err != nil {
		return err
	}
	run := record.Run{Entity: j.Entity, Op: op, Seq: j.Seq, Fence: j.Fence, Attempt: j.Attempt}
	if err := rec.Start(run); err != nil {
		return err
	}
	select {
	case <-time.After(poisonAfter):
	case <-ctx.Done():
		return ctx.Err()
	}
	return rec.Finish(run)
}
