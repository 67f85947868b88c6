package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/examples/history"
)

// stubbornEnv makes this program a job of an exec pool that does not heed SIGTERM.
const stubbornEnv = "SERIATIM_DEMO_STUBBORN"

// stubbornIfAsked turns this process into that job, and then never returns.
func stubbornIfAsked() {
	if os.Getenv(stubbornEnv) == "" {
		return
	}
	signal.Ignore(syscall.SIGTERM)
	if err := stubborn(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if errors.Is(err, history.ErrRefused) || errors.Is(err, history.ErrBody) {
			os.Exit(100)
		}
		os.Exit(75)
	}
	os.Exit(0)
}

func stubborn() error {
	seq, err1 := strconv.ParseUint(os.Getenv("JOB_SEQ"), 10, 64)
	fence, err2 := strconv.ParseUint(os.Getenv("JOB_FENCE"), 10, 64)
	attempt, err3 := strconv.Atoi(os.Getenv("JOB_ATTEMPT"))
	work, err4 := time.ParseDuration(os.Getenv("HISTORY_WORK"))
	body, err5 := io.ReadAll(os.Stdin)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	rec, err := record.Open(os.Getenv("HISTORY_RECORD"))
	if err != nil {
		return err
	}
	rec.Worker = os.Getenv("HISTORY_WORKER")
	applier, err := history.NewApplier(os.Getenv("HISTORY_STATE"), rec, work)
	if err != nil {
		return err
	}
	return applier.Apply(context.Background(), history.Job{
		Entity: os.Getenv("JOB_ENTITY"), Seq: seq, Fence: fence, Attempt: attempt, Body: body,
	})
}
