package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// scheduleFlags say when, and how runs overlap.
type scheduleFlags struct {
	cron, zone, every, overlap string
	later                      laterFlags
	replace, paused, dryRun    bool
}

func (c *scheduleFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&c.cron, "cron", "", "`expression` of five fields, of six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly")
	f.StringVar(&c.zone, "tz", "", "time `zone` of --cron, such as Europe/Berlin (default: UTC)")
	f.StringVar(&c.every, "every", "", "`interval`, a second or more, counted from now")
	f.StringVar(&c.later.in, "in", "", "once, so long from now")
	f.StringVar(&c.later.at, "at", "", "once, at this `time`, such as 2027-01-31T15:04:05+01:00")
	f.StringVar(&c.overlap, "overlap", "queue", "when the last run is not finished: queue, skip or coalesce")
	f.BoolVar(&c.replace, "replace", false, "take the place of a schedule of that name")
	f.BoolVar(&c.paused, "paused", false, "make it paused")
	f.BoolVar(&c.dryRun, "dry-run", false, "only check it, and show its next times")
}

// spec is what the flags say; in is counted from now when the schedule is made.
func (c *scheduleFlags) spec(f *pflag.FlagSet) (s schedule.Spec, in time.Duration, err error) {
	given := []string{}
	for _, name := range []string{"cron", "every", "in", "at"} {
		if f.Changed(name) {
			given = append(given, "--"+name)
		}
	}
	if len(given) != 1 {
		what := "say when"
		if len(given) > 1 {
			what = strings.Join(given, " and ") + " do not go together"
		}
		return s, 0, usagef("give one of --cron, --every, --in and --at", "%s", what)
	}
	s = schedule.Spec{Cron: c.cron, TimeZone: c.zone}
	if f.Changed("every") {
		every, err := config.ParseDuration(c.every)
		if err != nil {
			return s, 0, usagef("", "--every: %w", err)
		}
		if every < schedule.LeastEvery {
			return s, 0, usagef("the shortest interval is a second", "--every: %q is too short", c.every)
		}
		s.Every = schedule.Duration(every)
	}
	when, err := c.later.when(f)
	if err != nil {
		return s, 0, err
	}
	if when != nil {
		if s.At, in = when.At, when.In; f.Changed("in") {
			s.At = time.Unix(0, 1) // replaced by New.In
		}
	}
	if f.Changed("cron") && strings.TrimSpace(c.cron) == "" {
		s.Cron = " " // which says that it is empty
	}
	if _, err := s.Times(); err != nil {
		return s, 0, usage{err}
	}
	return s, in, nil
}

func (a *App) scheduleAdd() *cobra.Command {
	var job jobFlags
	var c scheduleFlags
	cmd := &cobra.Command{
		Use: "add QUEUE NAME TYPE.ID", Short: "Make a schedule, or replace one", Args: takes("QUEUE", "NAME", "TYPE.ID"),
		Long: `Make a schedule: a job that is published again and again, or once, under a name.

Making one that is there already, and says the same, is no error and changes nothing. One that says something else is
replaced with --replace; it keeps its history, and stays paused if it was.`,
		Example: "  coordinator schedule add ci nightly repo.7 --cron '30 2 * * 1-5' --tz Europe/Berlin --kind gc\n" +
			"  coordinator schedule add ci poll feed.1 --every 10m --overlap skip",
	}
	f := cmd.Flags()
	job.bind(f)
	c.bind(f)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		n := schedule.New{Name: args[1], Paused: c.paused, Replace: c.replace}
		if err := schedule.CheckName(n.Name); err != nil {
			return usage{err}
		}
		if n.Entity, err = subjects.ParseEntity(args[2]); err != nil {
			return usage{err}
		}
		var in time.Duration
		if n.Spec, in, err = c.spec(f); err != nil {
			return err
		}
		if n.Overlap, err = schedule.ParseOverlap(c.overlap); err != nil {
			return usage{err}
		}
		if n.Job, err = job.options(); err != nil {
			return err
		}
		return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
			if n.Job.Data, err = job.body(a, s); err != nil {
				return err
			}
			if f.Changed("in") {
				n.In = max(in, 1) // also 0 is a time that is not over yet
			}
			return a.addSchedule(ctx, s, q, n, c.dryRun)
		})
	}
	return cmd
}

func (a *App) addSchedule(ctx context.Context, s *session, q subjects.Queue, n schedule.New, dryRun bool) error {
	if dryRun {
		_, one, err := schedule.Prepare(ctx, s.js, q, n)
		if err != nil {
			return badOption(err)
		}
		return a.showSchedule(q, one)
	}
	one, did, err := schedule.Add(ctx, s.js, q, n)
	if err != nil {
		return badOption(err)
	}
	if a.json {
		return a.object(struct {
			scheduleRow
			Change string `json:"change"`
		}{rowOf(q, one), string(did)})
	}
	next := "it is paused"
	if !one.Next.IsZero() {
		next = fmt.Sprintf("next %s (%s)", one.Next.In(zoneOf(one.Spec)).Format("Mon "+time.RFC3339), a.ahead(&one.Next))
	}
	what := map[schedule.Change]string{schedule.Created: "is made", schedule.Replaced: "is replaced", schedule.Unchanged: "is there already, and says the same"}
	fmt.Fprintf(a.Stdout, "schedule %s %s; %s\n", one.Name, what[did], next)
	return nil
}

func (a *App) scheduleRemove() *cobra.Command {
	var jobs []string
	cmd := &cobra.Command{
		Use: "rm QUEUE NAME… | rm QUEUE --job ID…", Aliases: []string{"cancel", "delete"}, Short: "Remove schedules, or cancel single jobs that wait for their time",
		Args: takes("QUEUE", "[NAME…]"),
		Long: "Remove schedules, or cancel single jobs that wait for their time. What was published stays: see job rm.",
	}
	cmd.Flags().StringArrayVar(&jobs, "job", nil, "cancel the job with this `ID`, which schedule ls --jobs shows; may be given several times")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		names := args[1:]
		if len(names)+len(jobs) == 0 {
			return usagef("usage: "+cmd.UseLine(), "say which: names of schedules, or --job")
		}
		for _, name := range names {
			if err := schedule.CheckName(name); err != nil {
				return usage{err}
			}
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			return a.removeSchedules(ctx, s, q, unique(names), unique(jobs))
		})
	}
	return cmd
}

// unique drops what was said before.
func unique(list []string) (out []string) {
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// removeSchedules looks for all of them before it removes any, so that a slip in one name removes nothing.
func (a *App) removeSchedules(ctx context.Context, s *session, q subjects.Queue, names, jobs []string) (err error) {
	for _, name := range names {
		// One that cannot be read can be removed.
		if _, err := schedule.Get(ctx, s.js, q, name); errors.Is(err, streams.ErrNotFound) || errors.Is(err, streams.ErrUnknownQueue) {
			return err
		}
	}
	for _, id := range jobs {
		if _, _, err := schedule.Find(ctx, s.js, q, streams.JobRef{ID: id}); err != nil {
			return err
		}
	}
	removed := 0
	for _, name := range names {
		if err = schedule.Remove(ctx, s.js, q, name); err != nil {
			break
		}
		removed++
	}
	for _, id := range jobs {
		if err != nil {
			break
		}
		if err = schedule.Cancel(ctx, s.js, q, id); err == nil {
			removed++
		}
	}
	if removed == 0 && err != nil {
		return err
	}
	if a.json {
		return errors.Join(err, a.object(struct {
			Queue   string `json:"queue"`
			Removed int    `json:"removed"`
		}{string(q), removed}))
	}
	fmt.Fprintf(a.Stdout, "%d removed\n", removed)
	return err
}
