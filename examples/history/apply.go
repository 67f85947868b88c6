package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/internal/problem"
)

// The ways in which a job cannot be applied. Neither may ever happen.
var (
	// ErrLockBusy means that another run is at work on the entity.
	ErrLockBusy = errors.New("the entity's lock is busy")
	// ErrRefused means that the entity is not in the state that this operation needs.
	ErrRefused = errors.New("refused")
	// ErrBody is a body that is no operation.
	ErrBody = errors.New("the body is no operation")
)

// Job is what a worker was told about one run.
type Job struct {
	Entity     string
	Seq, Fence uint64
	Attempt    int
	// Body is a Change as JSON.
	Body []byte
}

// Applier applies jobs to a state folder. Apply may be called from any goroutine, and any number of processes may
// work on one folder.
type Applier struct {
	dir    string
	record *record.Recorder
	work   time.Duration
}

// NewApplier makes the folder if need be. Every job takes a random time from 0 to work.
func NewApplier(dir string, rec *record.Recorder, work time.Duration) (*Applier, error) {
	if err := os.MkdirAll(filepath.Join(dir, "locks"), 0o755); err != nil {
		return nil, problem.New("make state folder", err, "")
	}
	return &Applier{dir, rec, work}, nil
}

// Apply runs one job. Errors are ErrLockBusy, ErrRefused and ErrBody, ctx's cause when it was cancelled, or one of the
// file system; after any of them the state is what it was.
//
// The state is written before the finish is, so a run that is killed in between leaves a state that already has this
// very operation: when the job comes again, that is no reason to refuse it.
func (a *Applier) Apply(ctx context.Context, job Job) error {
	var change Change
	if err := json.Unmarshal(job.Body, &change); err != nil || change.N < 1 {
		return problem.New("apply to "+job.Entity, errors.Join(ErrBody, err), "")
	}
	op := fmt.Sprintf("apply operation %d to %s", change.N, job.Entity)
	run := record.Run{Entity: job.Entity, Op: change.N, Seq: job.Seq, Fence: job.Fence, Attempt: job.Attempt, Locked: true}
	unlock, err := a.lock(job.Entity)
	if errors.Is(err, ErrLockBusy) {
		run.Locked = false
		return problem.New(op, errors.Join(err, a.record.LockBusy(run)), "")
	}
	if err != nil {
		return problem.New(op, err, "")
	}
	defer unlock()
	if err := a.record.Start(run); err != nil {
		return problem.New(op, err, "")
	}
	switch err := a.change(ctx, job.Entity, change); {
	case err == nil:
		return problem.New(op, a.record.Finish(run), "")
	case errors.Is(err, ErrRefused):
		return problem.New(op, errors.Join(err, a.record.Refused(run)), "")
	default:
		return problem.New(op, errors.Join(err, a.record.Failed(run)), "")
	}
}

// change does the work, under the lock.
func (a *Applier) change(ctx context.Context, entity string, c Change) error {
	path := filepath.Join(a.dir, fileName(entity)+".json")
	now, err := readState(path, entity)
	if err != nil {
		return err
	}
	again := now.N == c.N && now.Hash == c.New
	if !again && (now.N >= c.N || now.Hash != c.Old) {
		return fmt.Errorf("%w: it is at %s after operation %d, not at %s", ErrRefused, now.Hash, now.N, c.Old)
	}
	if a.work > 0 {
		select {
		case <-time.After(rand.N(a.work)):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return writeState(path, state{Entity: entity, N: c.N, Hash: c.New})
}

// lock takes the entity's exclusive lock without waiting. It ends with unlock or with the process.
func (a *Applier) lock(entity string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(a.dir, "locks", fileName(entity)), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		return func() { _ = f.Close() }, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLockBusy
	}
	return nil, err
}
