package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/subjects"
)

// removed tells what became of jobs that were to be removed. A lane whose job runs is spared, because removing what runs
// would free its lane beside it.
func (a *App) removed(q subjects.Queue, r operator.Removal) error {
	if a.json {
		return a.object(struct {
			Queue   string `json:"queue"`
			Removed int    `json:"removed"`
			Spared  int    `json:"spared"`
		}{string(q), r.Removed, r.Spared})
	}
	fmt.Fprintf(a.Stdout, "%d job(s) removed\n", r.Removed)
	if r.Spared > 0 {
		fmt.Fprintf(a.Stderr, "%d job(s) stay, because a job of their entity runs\n", r.Spared)
	}
	return nil
}

func (a *App) queuePurge() *cobra.Command {
	var entity string
	cmd := &cobra.Command{
		Use: "purge NAME", Short: "Remove all unfinished jobs of a queue, but not of entities whose job runs", Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := queueArg(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
				if entity != "" {
					return a.removeEntity(ctx, s, q, entity)
				}
				loaded, err := streams.QueueInfo(ctx, s.js, q)
				if err != nil {
					return err
				}
				if err := a.confirm("Remove all %d unfinished job(s) of queue %s?", loaded.Jobs, q); err != nil {
					return err
				}
				r, err := operator.PurgeQueue(ctx, s.js, q)
				if err != nil {
					return err
				}
				return a.removed(q, r)
			})
		},
	}
	cmd.Flags().StringVar(&entity, "entity", "", "only those of this `TYPE.ID`")
	return cmd
}

func (a *App) jobRemove() *cobra.Command {
	var entity string
	cmd := &cobra.Command{
		Use: "rm QUEUE SEQ… | rm QUEUE --entity TYPE.ID", Short: "Remove unfinished jobs, but not of entities whose job runs",
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
	r, err := operator.RemoveJobs(ctx, s.js, q, es[0], nil)
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
		e, err := laneOf(ctx, s, q, seq)
		if err != nil {
			return err
		}
		if byEntity[e] == nil {
			order = append(order, e)
		}
		byEntity[e] = append(byEntity[e], seq)
	}
	if err := a.confirm("Remove %d job(s) from queue %s?", len(seqs), q); err != nil {
		return err
	}
	var sum operator.Removal
	for _, e := range order {
		r, err := operator.RemoveJobs(ctx, s.js, q, e, byEntity[e])
		sum.Removed += r.Removed
		sum.Spared += r.Spared
		if err != nil {
			return errors.Join(err, a.removed(q, sum))
		}
	}
	return a.removed(q, sum)
}

// laneOf reads from a job's subject whose it is. What a list shows of a job with an unusable subject may look like
// the name of another entity, whose lane it is not in.
func laneOf(ctx context.Context, s *session, q subjects.Queue, seq uint64) (subjects.Entity, error) {
	if _, err := streams.GetJob(ctx, s.js, q, seq); err != nil {
		return subjects.Entity{}, err // which says in words that it is not there
	}
	m, err := streams.GetMessage(ctx, s.js, q.JobsStream(), seq)
	if err != nil {
		return subjects.Entity{}, err
	}
	token, _ := subjects.LaneOf(m.Subject)
	e, err := subjects.ParseLane(token)
	if err != nil {
		return e, problem.New(fmt.Sprintf("remove job %d of %s", seq, q), err, "no lane can hold such a job; a worker makes it dead, and queue purge removes it")
	}
	return e, nil
}
