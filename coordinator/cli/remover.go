package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// remover takes unfinished jobs out of a queue by the claim protocol: a job whose claim somebody holds is spared,
// because removing it would free its lane beside it.
type remover interface {
	// RemoveJobs removes the jobs with these sequences, all of them of one entity; without sequences, all jobs of
	// the entity.
	RemoveJobs(ctx context.Context, q subjects.Queue, e subjects.Entity, seqs []uint64) (removal, error)
	// PurgeQueue removes all unfinished jobs of the queue.
	PurgeQueue(ctx context.Context, q subjects.Queue) (removal, error)
}

// removal is what became of jobs that were to be removed.
type removal struct {
	// Removed counts those that are gone; Spared those that stay because they run.
	Removed, Spared int
}

func (a *App) removed(q subjects.Queue, r removal) error {
	if a.json {
		return a.object(struct {
			Queue   string `json:"queue"`
			Removed int    `json:"removed"`
			Spared  int    `json:"spared"`
		}{string(q), r.Removed, r.Spared})
	}
	fmt.Fprintf(a.Stdout, "%d job(s) removed\n", r.Removed)
	if r.Spared > 0 {
		fmt.Fprintf(a.Stderr, "%d job(s) were spared, because they run\n", r.Spared)
	}
	return nil
}

func (a *App) queuePurge() *cobra.Command {
	return &cobra.Command{
		Use: "purge NAME", Short: "Remove all unfinished jobs of a queue, but for those that run", Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				loaded, err := streams.QueueInfo(ctx, s.js, q)
				if err != nil {
					return err
				}
				if err := a.confirm("Remove all %d unfinished job(s) of queue %s?", loaded.Jobs, q); err != nil {
					return err
				}
				r, err := a.remover(s).PurgeQueue(ctx, q)
				if err != nil {
					return err
				}
				return a.removed(q, r)
			})
		},
	}
}

func (a *App) jobRemove() *cobra.Command {
	var entity string
	cmd := &cobra.Command{
		Use: "rm QUEUE SEQ… | rm QUEUE --entity TYPE.ID", Short: "Remove unfinished jobs, but for those that run",
		Args: takes("QUEUE", "[SEQ…]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			seqs, err := sequences(args[1:])
			if err != nil {
				return err
			}
			if (entity == "") == (len(seqs) == 0) {
				return usagef("usage: "+cmd.UseLine(), "give sequences, or --entity for all jobs of one entity")
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				if entity != "" {
					return a.removeEntity(ctx, s, q, entity)
				}
				return a.removeSeqs(ctx, s, q, seqs)
			})
		},
	}
	cmd.Flags().StringVar(&entity, "entity", "", "remove all jobs of this `TYPE.ID`")
	return cmd
}

func (a *App) removeEntity(ctx context.Context, s *session, q subjects.Queue, raw string) error {
	es, err := entities([]string{raw})
	if err != nil {
		return err
	}
	if err := a.confirm("Remove all unfinished jobs of %s in queue %s?", es[0], q); err != nil {
		return err
	}
	r, err := a.remover(s).RemoveJobs(ctx, q, es[0], nil)
	if err != nil {
		return err
	}
	return a.removed(q, r)
}

// removeSeqs removes single jobs: lane by lane, because the protocol is one of lanes. All of them are looked up before
// any is removed, so that a slip in one number removes nothing.
func (a *App) removeSeqs(ctx context.Context, s *session, q subjects.Queue, seqs []uint64) error {
	byEntity := map[subjects.Entity][]uint64{}
	var order []subjects.Entity
	for _, seq := range seqs {
		job, err := streams.GetJob(ctx, s.js, q, seq)
		if err != nil {
			return err
		}
		e, err := subjects.ParseEntity(job.Entity)
		if err != nil {
			return fmt.Errorf("job %d: %w", seq, err)
		}
		if byEntity[e] == nil {
			order = append(order, e)
		}
		byEntity[e] = append(byEntity[e], seq)
	}
	if err := a.confirm("Remove %d job(s) from queue %s?", len(seqs), q); err != nil {
		return err
	}
	var sum removal
	for _, e := range order {
		r, err := a.remover(s).RemoveJobs(ctx, q, e, byEntity[e])
		sum.Removed += r.Removed
		sum.Spared += r.Spared
		if err != nil {
			return err
		}
	}
	return a.removed(q, sum)
}
