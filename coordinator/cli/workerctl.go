package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/workerd/config"
)

// workerTold is what became of one worker.
type workerTold struct {
	Worker string `json:"id"`
	State  string `json:"state"`
	Busy   int    `json:"busy"`
	Error  string `json:"error,omitempty"`
}

func (a *App) workerControl(verb, use, short string) *cobra.Command {
	var all bool
	var wait, queue string
	cmd := &cobra.Command{Use: use, Short: short, Args: takes("[ID…]")}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "all workers")
	f.StringVarP(&queue, "queue", "q", "", "with --all: only those that serve this `queue`")
	if verb != streams.VerbResume {
		f.StringVar(&wait, "wait", "", "wait until it runs nothing (quiet) or is gone (stop), at most for a `duration`")
		f.Lookup("wait").NoOptDefVal = "0s"
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usagef("usage: "+cmd.UseLine(), "say which: ids of workers, or else --all")
		}
		if queue != "" && !all {
			return usagef("usage: "+cmd.UseLine(), "--queue goes with --all")
		}
		if queue != "" {
			if _, err := queueArg(queue); err != nil {
				return err
			}
		}
		var bound time.Duration
		if wait != "" && wait != "0s" {
			d, err := config.ParseDuration(wait)
			if err != nil || d <= 0 {
				return usagef("write it as --wait=30s", "--wait: %q is no duration", wait)
			}
			bound = d
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			targets, err := a.targets(ctx, s, args, queue)
			if err != nil {
				return err
			}
			if verb == streams.VerbStop && all {
				if err := a.confirm("Stop all %d worker(s)?", len(targets)); err != nil {
					return err
				}
			}
			told, err := tellWorkers(ctx, s, targets, verb)
			if err == nil && wait != "" {
				err = a.awaitWorkers(ctx, s, told, verb, bound)
			}
			return errors.Join(err, rows(a, told, "no worker lives", []string{"id", "state", "busy", ""}, func(w workerTold) []any {
				return []any{w.Worker, w.State, w.Busy, w.Error}
			}))
		})
	}
	return cmd
}

// targets are the ids of the living workers that are meant. A name that is none's is an error before anything is done.
func (a *App) targets(ctx context.Context, s *session, ids []string, queue string) (targets []string, err error) {
	workers, err := streams.ListWorkers(ctx, s.js)
	if err != nil {
		return nil, err
	}
	living := func(w streams.SessionRecord) bool { return w.Living() && w.State != streams.StateOperator }
	if len(ids) == 0 {
		for _, w := range workers {
			if living(w) && (queue == "" || slices.Contains(w.Queues, queue)) && !slices.Contains(targets, w.Worker) {
				targets = append(targets, w.Worker)
			}
		}
		return targets, nil
	}
	for _, id := range ids {
		w, err := pickWorker(workers, id)
		if err != nil {
			return nil, err
		}
		if !living(w) {
			return nil, &said{fmt.Errorf("worker %s is %s: %w", w.Worker, w.State, streams.ErrNoAnswer), "see those that live: coordinator worker ls"}
		}
		if !slices.Contains(targets, w.Worker) {
			targets = append(targets, w.Worker)
		}
	}
	return targets, nil
}

// tellWorkers tells each worker, also when another one does not answer. The error is the first one.
func tellWorkers(ctx context.Context, s *session, ids []string, verb string) (told []workerTold, first error) {
	for _, id := range ids {
		one, cancel := context.WithTimeout(ctx, s.timeout)
		r, err := streams.AskWorker(one, s.nc, id, streams.ControlRequest{Verb: verb})
		cancel()
		t := workerTold{Worker: id, State: r.State, Busy: r.Busy}
		if err != nil {
			t.Error = err.Error()
			if first == nil {
				first = err
			}
		}
		told = append(told, t)
	}
	return told, first
}

const workerPoll = 200 * time.Millisecond

// awaitWorkers waits until the workers run nothing, or are gone.
func (a *App) awaitWorkers(ctx context.Context, s *session, told []workerTold, verb string, bound time.Duration) error {
	if bound > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, bound)
		defer cancel()
	}
	was := make([]bool, len(told)) // quiet, by its record, which is as old as its last beat
	for {
		workers, err := streams.ListWorkers(ctx, s.js)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err != nil { // a list that was cut short shows nobody, who is not gone for that
			return notThere(ctx, len(told))
		}
		waits := 0
		for i := range told {
			w, err := pickWorker(workers, told[i].Worker)
			if err != nil || !w.Living() {
				told[i].State, told[i].Busy = streams.StateStopped, 0
				if err == nil {
					told[i].State = w.State
				}
				continue
			}
			told[i].State, told[i].Busy = w.State, w.Busy
			was[i] = was[i] || w.State == streams.StateQuiet
			switch {
			case verb == streams.VerbStop, w.Busy > 0, !was[i]:
				waits++
			case w.State == streams.StateRunning:
				return &said{fmt.Errorf("worker %s is %s: somebody told it so meanwhile", w.Worker, w.State), ""}
			}
		}
		if waits == 0 {
			return nil
		}
		if streams.Pause(ctx, workerPoll) != nil {
			return notThere(ctx, waits)
		}
	}
}

func notThere(ctx context.Context, workers int) error {
	return &said{fmt.Errorf("%d worker(s) are not there yet: %w", workers, context.Cause(ctx)), "they were told; see: coordinator worker ls"}
}
