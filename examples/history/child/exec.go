package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/seriatim/seriatim/examples/history"
)

// What an exec pool reads from an exit code.
const (
	exitDone    = 0
	exitRetry   = 75
	exitForGood = 100
)

// execute runs the one job that environment and body describe.
func execute(ctx context.Context, applier *history.Applier, body io.Reader, env func(string) (string, bool)) int {
	var job history.Job
	var wrong error
	number := func(name string) uint64 {
		v, _ := env(name)
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", name, err))
		}
		return n
	}
	job.Entity, _ = env("JOB_ENTITY")
	job.Seq, job.Fence, job.Attempt = number("JOB_SEQ"), number("JOB_FENCE"), int(number("JOB_ATTEMPT"))
	if job.Entity == "" {
		wrong = errors.Join(wrong, errors.New("JOB_ENTITY is not set"))
	}
	if wrong != nil {
		fmt.Fprintln(os.Stderr, wrong)
		return exitForGood
	}
	var err error
	if job.Body, err = io.ReadAll(body); err == nil {
		err = applier.Apply(ctx, job)
	}
	switch {
	case err == nil:
		return exitDone
	case forGood(err):
		fmt.Fprintln(os.Stderr, err)
		return exitForGood
	}
	fmt.Fprintln(os.Stderr, err)
	return exitRetry
}

// forGood tells whether another attempt would be as useless as this one.
func forGood(err error) bool {
	return errors.Is(err, history.ErrRefused) || errors.Is(err, history.ErrBody)
}
