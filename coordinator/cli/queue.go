package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func (a *App) queueCommand() *cobra.Command {
	return noun("queue", "Make, look at, change, pause and remove queues",
		a.queueAdd(), a.queueList(), a.queueInfo(), a.queueEdit(), a.queueRemove(), a.queuePause(), a.queueResume(), a.queuePurge(),
		a.queueBackup(), a.queueRestore())
}

// onQueue runs do with the queue that the first argument names.
func (a *App) onQueue(cmd *cobra.Command, args []string, do func(ctx context.Context, s *session, q subjects.Queue) error) error {
	q, err := queueArg(args[0])
	if err != nil {
		return err
	}
	return a.once(cmd.Context(), func(ctx context.Context, s *session) error { return do(ctx, s, q) })
}

func (a *App) queueAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a queue", Args: takes("NAME"),
		Long: "Make a queue. Making one that is there already, with the same policy, is no error and changes nothing.",
	}
	policy := bindPolicy(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := policy.change()
		if err != nil {
			return err
		}
		p := streams.DefaultPolicy()
		change(&p)
		if err := p.Validate(); err != nil {
			return usage{err}
		}
		return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
			created, err := streams.CreateQueue(ctx, s.js, q, p)
			if err != nil {
				return badOption(err)
			}
			if a.json {
				if stored, err := streams.LoadQueue(ctx, s.js, q); err == nil {
					p = stored.Policy // with what was left to the server
				}
				return a.object(struct {
					Name    string         `json:"name"`
					Created bool           `json:"created"`
					Policy  streams.Policy `json:"policy"`
				}{string(q), created, p})
			}
			if !created {
				fmt.Fprintf(a.Stdout, "queue %s is there already, with this policy\n", q)
				return nil
			}
			fmt.Fprintf(a.Stdout, "queue %s is ready; publish to jobs.%s.<type>.<id>\n", q, q)
			return nil
		})
	}
	return cmd
}

func (a *App) queueList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List queues", Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				queues, err := streams.ListQueues(ctx, s.js)
				if err != nil {
					return err
				}
				infos, unread := a.readQueues(ctx, s, queues)
				return errors.Join(unread, rows(a, infos, "no queues; make one with: coordinator queue add ci",
					[]string{"name", "jobs", "lanes", "runnable", "running", "retrying", "dead", "scheduled", "oldest", "replicas", "paused"},
					func(i streams.Info) []any {
						return []any{i.Name, i.Jobs, i.Lanes, i.Runnable, i.Running, i.Retrying, i.Dead, i.Scheduled, seconds(i.OldestAgeSeconds), i.Replicas, yes(i.Paused)}
					}))
			})
		},
	}
}

// readQueues reads what can be read, so that one queue of a newer version does not hide the others. The error is the
// first one. A queue that was removed meanwhile is none.
func (a *App) readQueues(ctx context.Context, s *session, queues []subjects.Queue) (infos []streams.Info, first error) {
	for _, q := range queues {
		info, err := streams.QueueInfo(ctx, s.js, q)
		switch {
		case err == nil:
			infos = append(infos, info)
		case first == nil && !errors.Is(err, streams.ErrUnknownQueue):
			first = err
		}
	}
	return infos, first
}

func (a *App) queueInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info NAME", Short: "Show what a queue holds, and its policy", Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
				info, err := streams.QueueInfo(ctx, s.js, q)
				if err != nil {
					return err
				}
				if a.json {
					return a.object(info)
				}
				a.describe(info)
				return nil
			})
		},
	}
}

func (a *App) describe(i streams.Info) {
	least := ""
	if i.Partial {
		least = " or more"
	}
	p := i.Policy
	a.facts([]fact{
		{"queue", i.Name},
		{"unfinished jobs", fmt.Sprintf("%d, of %d entities (%s)", i.Jobs, i.Lanes, size(int64(i.Bytes)))},
		{"runnable lanes", i.Runnable},
		{"running", i.Running},
		{"retrying", fmt.Sprintf("%d%s", i.Retrying, least)},
		{"halted", fmt.Sprintf("%d%s", i.Halted, least)},
		{"dead", i.Dead},
		{"scheduled", i.Scheduled},
		{"oldest job", seconds(i.OldestAgeSeconds)},
		{"paused", yes(i.Paused)},
		{"paused lanes", i.PausedLanes},
		{"workers", fmt.Sprintf("%d, with %d slots", i.Workers, i.Slots)},
		{"made", i.CreatedAt.UTC().Format("2006-01-02 15:04:05Z")},
		{"stored", fmt.Sprintf("%s, %d replica(s)", i.Storage, i.Replicas)},
		{"limits", fmt.Sprintf("bytes %s, jobs %s, bytes of one job %s", limit(p.MaxBytes), limit(p.MaxMsgs), limit(p.MaxJobSize))},
		{"lease", p.Lease},
		{"dead after", fmt.Sprintf("failures %s, lost workers %s, crashes %s", limit(int64(p.MaxAttempts)), limit(int64(p.MaxLost)), limit(int64(p.MaxCrashes)))},
		{"backoff", backoffText(p.Backoff)},
		{"on failure", p.OnFailure},
		{"on dead", p.OnDead},
		{"dead are kept", fmt.Sprintf("%s, jobs %s", ageText(p.DeadMaxAge), limit(p.DeadMaxMsgs))},
		{"history", historyText(p)},
		{"jobs at once", streams.LimitsText(p.Limits)},
	})
	for _, d := range i.Drift {
		fmt.Fprintf(a.Stderr, "warning: %s\n", oneLine(d.String()))
	}
	if len(i.Drift) > 0 {
		fmt.Fprintf(a.Stderr, "hint: apply the policy again with: coordinator queue edit %s\n", i.Name)
	}
}

func (a *App) queueEdit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "edit NAME", Short: "Change a queue's policy, or apply it again", Args: takes("NAME"),
		Long: "Change a queue's policy. Without flags the policy that the queue has is applied again to all its streams.",
	}
	policy := bindPolicy(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		change, err := policy.change()
		if err != nil {
			return err
		}
		return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
			p, diffs, err := streams.EditQueue(ctx, s.js, q, change)
			if err != nil {
				return badOption(err)
			}
			if a.json {
				if diffs == nil {
					diffs = []streams.Diff{}
				}
				return a.object(struct {
					Name    string         `json:"name"`
					Policy  streams.Policy `json:"policy"`
					Changed []streams.Diff `json:"changed"`
				}{string(q), p, diffs})
			}
			for _, d := range diffs {
				fmt.Fprintf(a.Stdout, "%s: %s, was %s\n", d.Setting, d.Policy, d.Is)
			}
			if len(diffs) == 0 {
				fmt.Fprintf(a.Stdout, "queue %s is as its policy says; nothing was changed\n", q)
			}
			return nil
		})
	}
	return cmd
}

func (a *App) queueRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Aliases: []string{"delete"}, Short: "Remove a queue and all that is in it", Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				if !a.force { // what is there matters only to somebody who is asked
					what, err := a.contents(ctx, s, q)
					if err != nil {
						return err
					}
					if err := a.confirm("Remove queue %s%s?", q, what); err != nil {
						return err
					}
				}
				existed, err := streams.DeleteQueue(ctx, s.js, q)
				if err != nil {
					return err
				}
				if !existed {
					return problem.New("delete queue "+string(q), fmt.Errorf("%w %q", streams.ErrUnknownQueue, string(q)), "see those that are there: coordinator queue ls")
				}
				if a.json {
					return a.object(struct {
						Name    string `json:"name"`
						Removed bool   `json:"removed"`
					}{string(q), true})
				}
				fmt.Fprintf(a.Stdout, "queue %s is removed\n", q)
				return nil
			})
		},
	}
}

// contents says in a question what would be lost. What is left of a queue that is only half there has no contents.
func (a *App) contents(ctx context.Context, s *session, q subjects.Queue) (string, error) {
	info, err := streams.QueueInfo(ctx, s.js, q)
	switch {
	case errors.Is(err, streams.ErrUnknownQueue):
		return "", nil
	case err != nil:
		return "", err
	}
	var parts []string
	for _, c := range []struct {
		n    uint64
		what string
	}{{info.Jobs, "unfinished job(s)"}, {uint64(info.Running), "of them running"}, {info.Dead, "dead"}, {info.Scheduled, "scheduled"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(parts) == 0 {
		return ", which is empty", nil
	}
	return " with " + strings.Join(parts, ", "), nil
}
