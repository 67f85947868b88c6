package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

func (a *App) deadCommand() *cobra.Command {
	return noun("dead", "Look at dead jobs, retry and remove them",
		a.deadList(), a.deadInfo(),
		a.deadAct("retry QUEUE [SEQ…]", "Put dead jobs back at the end of their lanes", "retried", "Retry", streams.RetryDead),
		a.deadAct("rm QUEUE [SEQ…]", "Remove dead jobs for good", "removed", "Remove", streams.RemoveDead))
}

var causesOfDeath = []string{"failed", "fatal", "crashed", "memory", "lost", "invalid"}

// deadFlags choose dead jobs.
type deadFlags struct {
	of           []string
	kind, cause  string
	since, until string
	older, newer string
	limit        int
	all          bool
}

func (d *deadFlags) bind(f *pflag.FlagSet) {
	f.StringArrayVar(&d.of, "entity", nil, "only of this `TYPE.ID`; may be given several times")
	f.StringVar(&d.kind, "kind", "", "only of this kind")
	f.StringVar(&d.cause, "cause", "", "only with this cause: "+strings.Join(causesOfDeath, ", "))
	f.StringVar(&d.since, "since", "", "only that died after this `time`, or so long ago: 2h")
	f.StringVar(&d.until, "until", "", "only that died before this `time`, or so long ago")
	f.StringVar(&d.older, "older-than", "", "only that died longer ago than this `duration`")
	f.StringVar(&d.newer, "newer-than", "", "only that died less long ago than this `duration`")
	f.IntVar(&d.limit, "limit", 0, "at most so many, the oldest first; 0 is all")
}

func (d *deadFlags) filter(a *App, args []string) (f streams.DeadFilter, err error) {
	f = streams.DeadFilter{Kind: d.kind, Cause: d.cause, Limit: d.limit}
	if d.cause != "" && !slices.Contains(causesOfDeath, d.cause) {
		return f, usagef("one of "+strings.Join(causesOfDeath, ", "), "--cause: no job dies of %q%s", d.cause, nearest.Hint(d.cause, causesOfDeath))
	}
	if f.Seqs, err = sequences(args); err != nil {
		return f, err
	}
	slices.Sort(f.Seqs)
	f.Seqs = slices.Compact(f.Seqs)
	if f.Entities, err = entities(d.of); err != nil {
		return f, err
	}
	for _, bound := range []struct {
		at                           *time.Time
		time, timeFlag, age, ageFlag string
	}{{&f.Since, d.since, "--since", d.newer, "--newer-than"}, {&f.Until, d.until, "--until", d.older, "--older-than"}} {
		if bound.time != "" && bound.age != "" {
			return f, usagef("give one of them", "%s and %s say the same", bound.timeFlag, bound.ageFlag)
		}
		if *bound.at, err = a.moment(bound.timeFlag, bound.time); err != nil {
			return f, err
		}
		if bound.age != "" {
			ago, err := config.ParseDuration(bound.age)
			if err != nil {
				return f, usagef("write it as 2h or 30m", "%s: %q is no duration", bound.ageFlag, bound.age)
			}
			*bound.at = a.Now().Add(-ago)
		}
	}
	if d.limit < 0 {
		return f, usagef("0 is all", "--limit is below 0")
	}
	return f, nil
}

// narrow says that something was chosen at all.
func (d *deadFlags) narrow(args []string) bool {
	return len(args) > 0 || len(d.of) > 0 || d.kind != "" || d.cause != "" || d.since != "" || d.until != "" || d.older != "" || d.newer != ""
}

// moment reads a time, or how long ago it was.
func (a *App) moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := config.ParseDuration(text); err == nil {
		return a.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usagef("write it as 2h or 2026-01-31T15:04:05Z", "%s: %q is no time", flag, text)
	}
	return t, nil
}

func (a *App) deadList() *cobra.Command {
	var d deadFlags
	cmd := &cobra.Command{
		Use: "ls QUEUE [SEQ…]", Aliases: []string{"list"}, Short: "List dead jobs, the oldest first", Args: takes("QUEUE", "[SEQ…]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			filter, err := d.filter(a, args[1:])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				dead, err := streams.ListDead(ctx, s.js, q, filter)
				if err != nil {
					return err
				}
				return rows(a, dead, "no dead jobs", []string{"seq", "entity", "kind", "id", "attempts", "cause", "died", "error"}, func(d streams.DeadInfo) []any {
					return []any{d.Seq, d.Entity, d.Kind, d.ID, d.Attempts, d.Cause, a.age(d.DiedAt) + " ago", shorten(d.Error, 60)}
				})
			})
		},
	}
	d.bind(cmd.Flags())
	return cmd
}

func (a *App) deadInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info QUEUE SEQ", Short: "Show one dead job with its history and body", Args: takes("QUEUE", "SEQ"),
		RunE: func(cmd *cobra.Command, args []string) error {
			seqs, err := sequences(args[1:])
			if err != nil {
				return err
			}
			return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
				d, job, err := streams.GetDead(ctx, s.js, q, seqs[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.object(struct {
						streams.DeadInfo
						Headers map[string]string `json:"headers,omitempty"`
						Data    streams.Body      `json:"data"`
					}{d, job.Headers, job.Data})
				}
				a.facts([]fact{
					{"dead seq", d.Seq},
					{"died", fmt.Sprintf("%s (%s ago)", d.DiedAt.UTC().Format("2006-01-02 15:04:05Z"), a.age(d.DiedAt))},
					{"cause", d.Cause},
					{"error", d.Error},
					{"attempts", d.Attempts},
					{"history", d.History},
					{"worker", d.Worker},
				})
				job.Seq = d.JobSeq
				if d.PublishedAt != nil {
					job.PublishedAt = *d.PublishedAt
				}
				a.facts(jobFacts(a, job))
				a.tellTries(d.Tries)
				return nil
			})
		},
	}
}

// deadAct is a command that does something to the dead jobs that its arguments choose. It never takes "all" from
// silence.
func (a *App) deadAct(use, short, done, question string, act func(context.Context, jetstream.JetStream, subjects.Queue, streams.DeadFilter) (int, error)) *cobra.Command {
	var d deadFlags
	cmd := &cobra.Command{Use: use, Short: short, Args: takes("QUEUE", "[SEQ…]")}
	d.bind(cmd.Flags())
	cmd.Flags().BoolVar(&d.all, "all", false, "all dead jobs of the queue")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		if d.all == d.narrow(args[1:]) {
			return usagef("usage: "+cmd.UseLine(), "say which: sequences or filters, or else --all")
		}
		filter, err := d.filter(a, args[1:])
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			if err := a.askDead(ctx, s, q, filter, question); err != nil {
				return err
			}
			short := func(n int) error {
				if n >= len(filter.Seqs) || filter.Limit != 0 {
					return nil
				}
				return problem.New(fmt.Sprintf("%s: %d of the %d given", cmd.Name(), n, len(filter.Seqs)), fmt.Errorf("the others: %w", streams.ErrNotFound),
					"see those that are there: coordinator dead ls "+string(q))
			}
			if len(filter.Seqs) > 0 { // a slip in one number does nothing
				there, err := streams.ListDead(ctx, s.js, q, filter)
				if err == nil {
					err = short(len(there))
				}
				if err != nil {
					return err
				}
			}
			n, err := act(ctx, s.js, q, filter)
			if err == nil {
				err = short(n)
			}
			if a.json {
				if out := a.object(map[string]any{"queue": q, done: n}); out != nil {
					return out
				}
			} else if n > 0 || err == nil {
				fmt.Fprintf(a.Stdout, "%d dead job(s) %s\n", n, done)
			}
			return err
		})
	}
	return cmd
}

// askDead asks before more than single, named jobs are touched.
func (a *App) askDead(ctx context.Context, s *session, q subjects.Queue, filter streams.DeadFilter, verb string) error {
	if a.force || len(filter.Seqs) > 0 {
		return nil
	}
	dead, err := streams.ListDead(ctx, s.js, q, filter)
	if err != nil {
		return err
	}
	return a.confirm("%s %d dead job(s) of queue %s?", verb, len(dead), q)
}
