package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

func (a *App) scheduleCommand() *cobra.Command {
	return noun("schedule", "Make, look at, pause and remove schedules, and jobs that wait for their time",
		a.scheduleAdd(), a.scheduleList(), a.scheduleInfo(), a.scheduleRemove(),
		a.schedulePause("pause", "Let a schedule's times pass without a run", "paused", "was paused before", schedule.Pause),
		a.schedulePause("resume", "Let a paused schedule go on with its next time", "goes on", "was not paused", schedule.Resume))
}

// scheduleRow is a schedule in a list.
type scheduleRow struct {
	Name      string        `json:"name"`
	Entity    string        `json:"entity"`
	Kind      string        `json:"kind"`
	Spec      schedule.Spec `json:"spec"`
	When      string        `json:"when"`
	Overlap   string        `json:"overlap"`
	Paused    bool          `json:"paused"`
	NextAt    *time.Time    `json:"next_at"`
	Last      *schedule.Run `json:"last"`
	Runs      uint64        `json:"runs"`
	Skipped   uint64        `json:"skipped"`
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"`
}

func rowOf(q subjects.Queue, s schedule.Schedule) scheduleRow {
	h, _ := subjects.ReadJobHeader(q, 0, s.Header) // it was checked when it was made
	r := scheduleRow{
		Name: s.Name, Entity: s.Entity, Kind: h.Kind, Spec: s.Spec, When: s.Spec.String(), Overlap: string(s.Overlap), Paused: s.Paused,
		Last: s.Last, Runs: s.Runs, Skipped: s.Skipped, CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(),
	}
	if !s.Next.IsZero() {
		next := s.Next.UTC()
		r.NextAt = &next
	}
	return r
}

func (a *App) scheduleList() *cobra.Command {
	var jobs bool
	var limit int
	cmd := &cobra.Command{
		Use: "ls QUEUE", Aliases: []string{"list"}, Short: "List schedules, or with --jobs the single jobs that wait for their time", Args: takes("QUEUE"),
	}
	f := cmd.Flags()
	f.BoolVar(&jobs, "jobs", false, "single jobs that wait for their time: published with --in or --at, or waiting for a retry")
	f.IntVar(&limit, "limit", 0, "with --jobs at most so many; 0 is all (default: 100, with --json all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usagef("0 is all", "--limit is below 0")
		}
		if f.Changed("limit") && !jobs {
			return usagef("", "--limit goes with --jobs")
		}
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			if jobs {
				return a.listDelayed(ctx, s, q, limit, f.Changed("limit"))
			}
			list, err := schedule.List(ctx, s.js, q)
			if list == nil && err != nil {
				return err
			}
			table := make([]scheduleRow, len(list))
			for i, one := range list {
				table[i] = rowOf(q, one)
			}
			return errors.Join(err, rows(a, table, "no schedules; make one with: coordinator schedule add "+string(q)+" NAME TYPE.ID --cron '0 2 * * *'",
				[]string{"name", "entity", "kind", "when", "next", "last", "runs", "skipped", "paused"}, func(r scheduleRow) []any {
					last := ""
					if r.Last != nil {
						last = fmt.Sprintf("%s, %s ago", r.Last.Outcome, a.age(r.Last.FiredAt))
					}
					return []any{r.Name, r.Entity, r.Kind, r.When, a.ahead(r.NextAt), last, r.Runs, r.Skipped, yes(r.Paused)}
				}))
		})
	}
	return cmd
}

func (a *App) listDelayed(ctx context.Context, s *session, q subjects.Queue, limit int, chosen bool) error {
	cut := !a.json && !chosen
	if cut {
		limit = defaultRows + 1
	}
	list, err := schedule.ListDelayed(ctx, s.js, q, limit)
	if err != nil {
		return err
	}
	if cut = cut && len(list) > defaultRows; cut {
		list = list[:defaultRows]
	}
	err = rows(a, list, "no jobs that wait for their time", []string{"id", "entity", "kind", "due", "age", "size", ""}, func(d schedule.Delayed) []any {
		return []any{d.ID, d.Entity, d.Kind, a.ahead(&d.DueAt), a.age(d.StoredAt), size(int64(d.Size)), shorten(d.Invalid, 60)}
	})
	if cut {
		fmt.Fprintf(a.Stderr, "these are the first %d; --limit 0 lists all\n", defaultRows)
	}
	return err
}

// ahead is how long it is to a time: in 5m3s.
func (a *App) ahead(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	if left := t.Sub(a.Now()); left > 0 {
		return "in " + span(left)
	}
	return "now"
}

const previews = 5

func (a *App) scheduleInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info QUEUE NAME", Short: "Show a schedule, its last run and its next five times", Args: takes("QUEUE", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := schedule.CheckName(args[1]); err != nil {
				return usage{err}
			}
			return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
				one, err := schedule.Get(ctx, s.js, q, args[1])
				if err != nil {
					return err
				}
				return a.showSchedule(q, one)
			})
		},
	}
}

// preview are the next times; a paused schedule has none.
func preview(s schedule.Schedule) []time.Time {
	list := []time.Time{}
	times, err := s.Spec.Times()
	if err != nil || s.Next.IsZero() {
		return list
	}
	for _, t := range schedule.Preview(times, s.Next.Add(-1), previews) {
		list = append(list, t.In(zoneOf(s.Spec)))
	}
	return list
}

func zoneOf(s schedule.Spec) *time.Location {
	if zone, err := time.LoadLocation(s.TimeZone); err == nil {
		return zone
	}
	return time.UTC
}

func (a *App) showSchedule(q subjects.Queue, s schedule.Schedule) error {
	r := rowOf(q, s)
	next := preview(s)
	h, _ := subjects.ReadJobHeader(q, 0, s.Header)
	if a.json {
		return a.object(struct {
			scheduleRow
			Preview []time.Time       `json:"preview"`
			Headers map[string]string `json:"headers,omitempty"`
			Data    streams.Body      `json:"data"`
		}{r, next, h.Own, s.Data})
	}
	list := []fact{
		{"schedule", r.Name},
		{"entity", r.Entity},
		{"kind", r.Kind},
		{"when", r.When},
		{"overlap", r.Overlap},
		{"paused", yes(r.Paused)},
	}
	if l := r.Last; l != nil {
		list = append(list,
			fact{"last time", fmt.Sprintf("%s: %s, %s ago", l.At.In(zoneOf(s.Spec)).Format(time.RFC3339), l.Outcome, a.age(l.FiredAt))},
			fact{"last job", fmt.Sprintf("%s (seq %d)", l.ID, l.Seq)}, fact{"error", l.Error})
	}
	list = append(list, fact{"runs", r.Runs}, fact{"skipped", r.Skipped})
	for i, t := range next {
		name := "then"
		if i == 0 {
			name = "next"
		}
		list = append(list, fact{name, fmt.Sprintf("%s (%s)", t.Format("Mon "+time.RFC3339Nano), a.ahead(&t))})
	}
	a.facts(append(list, fact{"data", fmt.Sprintf("%s (%d bytes)", shorten(string(s.Data), 400), len(s.Data))}))
	return nil
}

func (a *App) schedulePause(verb, short, done, before string, act func(context.Context, jetstream.JetStream, subjects.Queue, string) (schedule.Schedule, bool, error)) *cobra.Command {
	return &cobra.Command{
		Use: verb + " QUEUE NAME", Short: short, Args: takes("QUEUE", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := schedule.CheckName(args[1]); err != nil {
				return usage{err}
			}
			return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
				one, changed, err := act(ctx, s.js, q, args[1])
				if err != nil {
					return err
				}
				if a.json {
					return a.object(struct {
						Name    string     `json:"name"`
						Paused  bool       `json:"paused"`
						Changed bool       `json:"changed"`
						NextAt  *time.Time `json:"next_at"`
					}{one.Name, one.Paused, changed, rowOf(q, one).NextAt})
				}
				what := done
				if !changed {
					what = before
				}
				fmt.Fprintf(a.Stdout, "schedule %s %s\n", one.Name, what)
				return nil
			})
		},
	}
}
