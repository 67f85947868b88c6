package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func (a *App) jobCommand() *cobra.Command {
	return noun("job", "Publish, import, look at, cancel and remove jobs",
		a.jobPublish(), a.jobImport(), a.jobList(), a.jobInfo(), a.jobLogs(), a.jobCancel(), a.jobRemove())
}

func (a *App) jobPublish() *cobra.Command {
	var job jobFlags
	var later laterFlags
	var wait waitFlags
	var id, debounce string
	var ifIdle bool
	cmd := &cobra.Command{
		Use: "publish QUEUE TYPE.ID", Aliases: []string{"pub"}, Short: "Publish one job and print its sequence", Args: takes("QUEUE", "TYPE.ID"),
		Long: `Publish one job and print its sequence; with --in, --at or --debounce a job for later, of which the id is printed.

With --wait the job's result is printed in place of its sequence, when the job is done. Who waits misses nothing for good: a
reply that is lost is made up for by what the queue keeps of its jobs.`,
		Example: "  coordinator job publish ci build.123 --kind archive --data '{\"ref\":\"main\"}'\n" +
			"  coordinator job publish ci build.123 --in 5m\n" +
			"  coordinator job publish ci build.123 --wait",
	}
	f := cmd.Flags()
	job.bind(f)
	later.bind(f)
	wait.bind(f)
	f.StringVar(&debounce, "debounce", "", "not before nobody has published this kind for the entity for so long, such as 5s; then only the last one")
	f.StringVar(&id, "id", "", "id; a second job of the same id within two minutes, or as long as it waits for its time, is not stored")
	f.BoolVar(&ifIdle, "if-idle", false, "only if the entity has no unfinished job")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, err := subjects.ParseEntity(args[1])
		if err != nil {
			return usage{err}
		}
		o, err := job.options()
		if err != nil {
			return err
		}
		o.ID, o.IfIdle = id, ifIdle
		when, err := later.when(f)
		if err != nil {
			return err
		}
		bound, err := wait.limit()
		if err != nil {
			return err
		}
		quiet, err := debounceOf(f, debounce)
		if err != nil {
			return err
		}
		return a.onQueue(cmd, args, func(ctx context.Context, s *session, q subjects.Queue) error {
			if o.Data, err = job.body(a, s); err != nil {
				return err
			}
			switch {
			case quiet > 0:
				return a.publishDebounced(ctx, s, q, e, o, quiet)
			case wait.wait:
				return a.publishAndWait(cmd.Context(), s, q, e, o, when, bound)
			case when != nil:
				return a.publishLater(ctx, s, q, e, o, *when)
			}
			seq, duplicate, err := streams.Publish(ctx, s.nc, q, e, o)
			if err != nil {
				return badOption(err)
			}
			return a.published(q, e, o.ID, seq, duplicate)
		})
	}
	return cmd
}

func (a *App) published(q subjects.Queue, e subjects.Entity, id string, seq uint64, duplicate bool) error {
	if id == "" {
		id = fmt.Sprintf("%s-%d", q, seq)
	}
	if a.json {
		return a.object(struct {
			Queue     string `json:"queue"`
			Entity    string `json:"entity"`
			ID        string `json:"id"`
			Seq       uint64 `json:"seq"`
			Duplicate bool   `json:"duplicate"`
		}{string(q), e.String(), id, seq, duplicate})
	}
	if duplicate {
		fmt.Fprintf(a.Stderr, "a job with id %s was stored before; this one was not\n", oneLine(id))
	}
	fmt.Fprintln(a.Stdout, seq)
	return nil
}

// body reads a file, or standard input, but no more than could be published.
func (a *App) body(file string, most int64) ([]byte, error) {
	in := a.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, &said{err, ""}
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, &said{err, ""}
	}
	if int64(len(data)) > most {
		return nil, &said{
			fmt.Errorf("%w: %s has more than the %d bytes that this server takes", streams.ErrTooLarge, file, most),
			"put the data into an object store and its name into the job",
		}
	}
	return data, nil
}

func parseHeaders(lines []string) (map[string][]string, error) {
	if len(lines) == 0 {
		return nil, nil
	}
	h := map[string][]string{}
	for _, l := range lines {
		name, value, ok := strings.Cut(l, ":")
		if !ok || name == "" {
			return nil, usagef("write it as Name:value", "--header: %q has no name and value", l)
		}
		h[name] = append(h[name], strings.TrimSpace(value))
	}
	return h, nil
}

const defaultRows = 100

func (a *App) jobList() *cobra.Command {
	var filter streams.JobFilter
	var of []string
	cmd := &cobra.Command{
		Use: "ls QUEUE", Aliases: []string{"list"}, Short: "List unfinished jobs in the order of the queue", Args: takes("QUEUE"),
	}
	f := cmd.Flags()
	f.StringArrayVar(&of, "entity", nil, "only of this `TYPE.ID`; may be given several times")
	f.StringVar(&filter.Kind, "kind", "", "only of this kind")
	f.Uint64Var(&filter.From, "from", 0, "only from this `sequence` on")
	f.IntVar(&filter.Limit, "limit", 0, "at most so many; 0 is all (default: 100, with --json all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if filter.Entities, err = entities(of); err != nil {
			return err
		}
		if filter.Limit < 0 {
			return usagef("0 is all", "--limit is below 0")
		}
		cut := !a.json && !f.Changed("limit")
		if cut {
			filter.Limit = defaultRows + 1
		}
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			jobs, err := streams.ListJobs(ctx, s.js, q, filter)
			if err != nil {
				return err
			}
			if cut = cut && len(jobs) > defaultRows; cut {
				jobs = jobs[:defaultRows]
			}
			err = rows(a, jobs, "no unfinished jobs", []string{"seq", "entity", "kind", "id", "age", "size", ""}, func(j streams.JobInfo) []any {
				return []any{j.Seq, j.Entity, j.Kind, j.ID, a.age(j.PublishedAt), size(int64(j.Size)), shorten(j.Invalid, 60)}
			})
			if cut {
				fmt.Fprintf(a.Stderr, "these are the first %d; --limit 0 lists all\n", defaultRows)
			}
			return err
		})
	}
	return cmd
}
