// Command child runs the jobs of examples/history, as the child of a worker in either of its two ways:
//
//	child          keeps running and takes frames on descriptor 3, answers on descriptor 4 (a pool's child)
//	child exec     runs one job from its environment and standard input (an exec pool's child)
//
// TERM makes what runs give up, which the record says; end of file on descriptor 3 means that the parent is gone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/examples/history"
)

func main() { os.Exit(run()) }

func run() int {
	host, _ := os.Hostname()
	state := flag.String("state", os.Getenv("HISTORY_STATE"), "`folder` of the states")
	path := flag.String("record", os.Getenv("HISTORY_RECORD"), "`file` to append starts and finishes to")
	work := flag.String("work", env("HISTORY_WORK", "5ms"), "a job takes a random time from 0 to this `duration`")
	worker := flag.String("worker", env("HISTORY_WORKER", fmt.Sprintf("%s-%d", host, os.Getppid())), "`name` in the record")
	concurrency := flag.String("concurrency", env("HISTORY_CONCURRENCY", "5"), "jobs at once")
	flag.Parse()
	longest, err1 := time.ParseDuration(*work)
	jobs, err2 := strconv.Atoi(*concurrency)
	if err := errors.Join(err1, err2); err != nil || jobs < 1 || *state == "" || *path == "" || flag.NArg() > 1 {
		fmt.Fprintln(os.Stderr, "child: state and record must be set, work a duration, concurrency above zero:", err)
		return 2
	}
	rec, err := record.Open(*path)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = rec.Close() }()
	rec.Worker = *worker
	applier, err := history.NewApplier(*state, rec, longest)
	if err != nil {
		return failed(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch flag.Arg(0) {
	case "exec":
		return execute(ctx, applier, os.Stdin, os.LookupEnv)
	case "", "pool":
		in, out, err := descriptors(os.Getenv("SERIATIM_FDS"))
		if err == nil {
			err = serve(ctx, applier, in, out, jobs)
		}
		if err != nil {
			return failed(err)
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "child: unknown mode %q: pool or exec\n", flag.Arg(0))
	return 2
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
