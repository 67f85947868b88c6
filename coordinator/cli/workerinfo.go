package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/nearest"
	"github.com/seriatim/seriatim/streams"
)

func (a *App) workerInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info ID", Short: "Show a worker: its jobs, its children, why they were restarted", Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				workers, err := streams.ListWorkers(ctx, s.js)
				if err != nil {
					return err
				}
				w, err := pickWorker(workers, args[0])
				if err != nil {
					return err
				}
				if a.json {
					w.Queues, w.Children, w.Jobs, w.Pools = notNil(w.Queues), notNil(w.Children), notNil(w.Jobs), notNil(w.Pools)
					return a.object(w)
				}
				a.showWorker(w)
				return nil
			})
		},
	}
}

// pickWorker is the last session of the worker with this id, or the session of this name.
func pickWorker(workers []streams.SessionRecord, id string) (found streams.SessionRecord, err error) {
	var ids []string
	for _, w := range workers { // each worker's sessions in the order of their start
		if w.Worker == id || w.Session == id {
			found = w
		}
		if !slices.Contains(ids, w.Worker) {
			ids = append(ids, w.Worker)
		}
	}
	if found.Session != "" {
		return found, nil
	}
	hint := "see which there are: coordinator worker ls"
	if near := nearest.Word(id, ids); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return found, &said{fmt.Errorf("no worker %q has left a record: %w", id, streams.ErrNotFound), hint}
}

func (a *App) showWorker(w streams.SessionRecord) {
	rtt := ""
	if w.RTTMS > 0 {
		rtt = fmt.Sprintf("%.1f ms", w.RTTMS)
	}
	a.facts([]fact{
		{"worker", w.Worker},
		{"session", w.Session},
		{"host", w.Host},
		{"pid", w.PID},
		{"state", w.State},
		{"version", w.Version},
		{"queues", strings.Join(w.Queues, ", ")},
		{"busy", fmt.Sprintf("%d of %d slots", w.Busy, w.Slots)},
		{"memory", size(w.RSSBytes)},
		{"round trip", rtt},
		{"up", a.age(w.StartedAt)},
		{"beat", a.age(w.BeatAt) + " ago"},
		{"lease", w.Lease()},
	})
	if len(w.Jobs) > 0 {
		fmt.Fprintln(a.Stdout)
		cells := make([][]any, len(w.Jobs))
		for i, j := range w.Jobs {
			cells[i] = []any{j.Queue, j.Entity, j.Kind, j.ID, j.Seq, j.Fence, j.Attempt, a.age(j.Since), progress(j.At)}
		}
		a.table([]string{"queue", "entity", "kind", "id", "seq", "fence", "attempt", "since", "progress"}, cells)
		if more := w.Busy - len(w.Jobs); more > 0 {
			fmt.Fprintf(a.Stdout, "and %d jobs more\n", more)
		}
	}
	if len(w.Children) > 0 {
		fmt.Fprintln(a.Stdout)
		cells := make([][]any, len(w.Children))
		for i, c := range w.Children {
			pss := ""
			if c.PSSBytes > 0 {
				pss = size(c.PSSBytes)
			}
			cells[i] = []any{c.Pool, c.PID, c.State, c.Jobs, size(c.RSSBytes), pss, a.age(c.StartedAt)}
		}
		a.table([]string{"pool", "child", "state", "jobs", "rss", "pss", "up"}, cells)
	}
	for _, p := range w.Pools {
		a.showRestarts(p)
	}
}

// progress is how far a job says it is.
func progress(p *streams.ProgressRecord) string {
	if p == nil {
		return ""
	}
	text := fmt.Sprintf("%g", p.At)
	if p.Of > 0 {
		text += fmt.Sprintf(" of %g", p.Of)
	}
	return strings.TrimSpace(text + " " + p.Note)
}

func (a *App) showRestarts(p streams.PoolRecord) {
	if p.Restarts == 0 {
		return
	}
	var why []string
	for _, reason := range slices.Sorted(maps.Keys(p.Why)) {
		why = append(why, fmt.Sprintf("%s %d", reason, p.Why[reason]))
	}
	fmt.Fprintf(a.Stdout, "\npool %s: %d children ended (%s)\n", p.Name, p.Restarts, strings.Join(why, ", "))
	if e := p.LastExit; e != nil {
		fmt.Fprintf(a.Stdout, "the last one, %d, %s ago: %s\n", e.PID, a.age(e.At), oneLine(e.Why))
	}
}

// restarts is how many children of a worker ended and were followed by others.
func restarts(w streams.SessionRecord) (n int) {
	for _, p := range w.Pools {
		n += p.Restarts
	}
	return n
}
