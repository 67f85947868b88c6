package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/e2e/record"
)

// Job is a job's body.
type Job struct {
	// Op is its number for the record.
	Op int `json:"op"`
	// MS is how long it takes, in milliseconds.
	MS int `json:"ms,omitempty"`
	// Until is a file that it waits for, after that.
	Until string `json:"until,omitempty"`
}

// worker runs jobs.
type worker struct {
	rec   *record.Recorder
	locks string
}

var errLockBusy = errors.New("the entity's lock is busy")

// lock takes the entity's lock without waiting; it ends with unlock or with the process.
func (w worker) lock(entity string) (unlock func(), err error) {
	name := sha256.Sum256([]byte(entity))
	f, err := os.OpenFile(filepath.Join(w.locks, hex.EncodeToString(name[:16])), os.O_CREATE|os.O_RDWR, 0o644)
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
		err = errLockBusy
	}
	return nil, err
}

// wait takes the job's time.
func (j Job) wait(ctx context.Context) error {
	if err := pause(ctx, time.Duration(j.MS)*time.Millisecond); err != nil {
		return err
	}
	for j.Until != "" {
		if _, err := os.Stat(j.Until); err == nil {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
