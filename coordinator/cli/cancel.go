package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// cancelled is what became of one job that was to be cancelled.
type cancelled struct {
	Seq    uint64 `json:"seq"`
	Entity string `json:"entity"`
	// Was is how it was found: waiting, or running.
	Was    string `json:"was"`
	Worker string `json:"worker,omitempty"`
	Gone   bool   `json:"gone"`
	// Why says what a job that is still there waits for.
	Why string `json:"why,omitempty"`
}

func (a *App) jobCancel() *cobra.Command {
	var entity, id, wait string
	cmd := &cobra.Command{
		Use:   "cancel QUEUE SEQ… | cancel QUEUE --entity TYPE.ID | cancel QUEUE --id ID",
		Short: "End jobs, also such as run, and remove them", Args: takes("QUEUE", "[SEQ…]"),
		Long: `End jobs and remove them: they are neither done nor dead.

A job that runs gets the chance to end by itself, and is killed with all that it has started after the worker's grace
(shutdown.kill_after). One that waits behind another one is removed between two jobs of its entity.`,
	}
	f := cmd.Flags()
	f.StringVar(&entity, "entity", "", "all jobs of this `TYPE.ID`")
	f.StringVar(&id, "id", "", "the job with this id")
	f.StringVar(&wait, "wait", "1m", "how long to wait until they are gone")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := queueArg(args[0])
		if err != nil {
			return err
		}
		seqs, err := sequences(args[1:])
		if err != nil {
			return err
		}
		given := 0
		for _, is := range []bool{len(seqs) > 0, entity != "", id != ""} {
			if is {
				given++
			}
		}
		if given != 1 {
			return usagef("usage: "+cmd.UseLine(), "say which: sequences, or --entity, or --id")
		}
		es, err := entities(slices.DeleteFunc([]string{entity}, func(s string) bool { return s == "" }))
		if err != nil {
			return err
		}
		bound, err := config.ParseDuration(wait)
		if err != nil || bound <= 0 {
			return usagef("write it as 30s or 5m", "--wait: %q is no duration above 0", wait)
		}
		return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
			lanes, err := jobsToCancel(ctx, s, q, seqs, es, id)
			if err != nil {
				return err
			}
			if entity != "" {
				if err := a.confirm("Cancel all %d unfinished job(s) of %s in queue %s?", len(lanes[0].jobs), es[0], q); err != nil {
					return err
				}
			}
			return a.cancelLanes(ctx, s, q, lanes, bound)
		})
	}
	return cmd
}

// laneJobs are jobs of one lane.
type laneJobs struct {
	e    subjects.Entity
	jobs []*cancelled
}

// jobsToCancel finds the jobs before anything is done: a slip in one number cancels nothing.
func jobsToCancel(ctx context.Context, s *session, q subjects.Queue, seqs []uint64, of []subjects.Entity, id string) (lanes []*laneJobs, err error) {
	add := func(e subjects.Entity, seq uint64) {
		i := slices.IndexFunc(lanes, func(l *laneJobs) bool { return l.e == e })
		if i < 0 {
			i, lanes = len(lanes), append(lanes, &laneJobs{e: e})
		}
		if !slices.ContainsFunc(lanes[i].jobs, func(c *cancelled) bool { return c.Seq == seq }) {
			lanes[i].jobs = append(lanes[i].jobs, &cancelled{Seq: seq, Entity: e.String(), Was: "waiting"})
		}
	}
	if len(seqs) == 0 {
		jobs, err := streams.ListJobs(ctx, s.js, q, streams.JobFilter{Entities: of})
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			if id == "" || j.ID == id {
				seqs = append(seqs, j.Seq)
			}
		}
		if len(seqs) == 0 {
			if id != "" {
				if _, _, err := schedule.Find(ctx, s.js, q, streams.JobRef{ID: id}); err == nil {
					return nil, &said{fmt.Errorf("job %s is in no lane: it waits for its time", id), fmt.Sprintf("cancel it there: coordinator schedule rm %s --job %s", q, id)}
				}
			}
			what := "no unfinished job has id " + id
			if id == "" {
				what = of[0].String() + " has no unfinished job"
			}
			return nil, &said{fmt.Errorf("%s: %w", what, streams.ErrNotFound), fmt.Sprintf("see those that are there: coordinator job ls %s", q)}
		}
	}
	for _, seq := range seqs {
		e, err := laneOf(ctx, s, q, seq)
		switch {
		case err != nil && len(of) == 0 && id == "":
			return nil, err
		case err == nil:
			add(e, seq)
		case !errors.Is(err, streams.ErrNotFound): // else it ended meanwhile
			return nil, err
		}
	}
	if len(lanes) == 0 {
		return nil, &said{fmt.Errorf("it ended before it could be cancelled: %w", streams.ErrNotFound), ""}
	}
	return lanes, nil
}

const (
	cancelPoll     = 50 * time.Millisecond
	cancelPollMost = time.Second
)

// cancelLanes goes on until all jobs are gone, or it is time. A lane can go from worker to worker meanwhile.
func (a *App) cancelLanes(ctx context.Context, s *session, q subjects.Queue, lanes []*laneJobs, bound time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, bound)
	defer stop()
	var failed error
	for poll := cancelPoll; ; poll = min(2*poll, cancelPollMost) {
		left := 0
		for _, l := range lanes {
			n, err := cancelLane(ctx, s, q, l)
			if left += n; err != nil && ctx.Err() == nil {
				failed = err
			}
		}
		if left == 0 || failed != nil {
			break
		}
		if streams.Pause(ctx, poll) != nil {
			failed = &said{
				fmt.Errorf("%d job(s) are not gone yet: %w", left, context.Cause(ctx)),
				"the workers that know will not start them; ask again, or wait longer with --wait",
			}
			break
		}
	}
	all := []cancelled{}
	for _, l := range lanes {
		for _, c := range l.jobs {
			all = append(all, *c)
		}
	}
	if a.json {
		return errors.Join(failed, a.object(all))
	}
	for _, c := range all {
		switch {
		case c.Gone && c.Was == "running":
			fmt.Fprintf(a.Stdout, "job %d of %s is cancelled; it ran on %s\n", c.Seq, c.Entity, c.Worker)
		case c.Gone:
			fmt.Fprintf(a.Stdout, "job %d of %s is cancelled\n", c.Seq, c.Entity)
		default:
			fmt.Fprintf(a.Stderr, "job %d of %s is still there: %s\n", c.Seq, c.Entity, oneLine(c.Why))
		}
	}
	return failed
}

// cancelLane does what can be done now, and says how many of the jobs are left. What runs is ended by who runs it; what
// waits is removed when nothing runs.
func cancelLane(ctx context.Context, s *session, q subjects.Queue, l *laneJobs) (left int, err error) {
	var seqs []uint64
	for _, c := range l.jobs {
		if c.Gone {
			continue
		}
		_, err := streams.GetMessage(ctx, s.js, q.JobsStream(), c.Seq)
		switch {
		case errors.Is(err, streams.ErrNotFound):
			c.Gone, c.Why = true, ""
		case err != nil:
			return len(l.jobs), err
		default:
			seqs = append(seqs, c.Seq)
		}
	}
	if len(seqs) == 0 {
		return 0, nil
	}
	info, err := streams.GetLane(ctx, s.js, q, l.e)
	if err != nil {
		return len(seqs), err
	}
	if c := info.Claim; c != nil && c.State == lane.Running && info.Holder != nil && info.Head != nil && info.Head.Seq == c.Job {
		return len(seqs), l.askHolder(ctx, s, q, info, seqs)
	}
	for _, c := range l.jobs {
		c.Why = info.Why
	}
	r, err := operator.CancelJobs(ctx, s.js, q, l.e, seqs)
	if err != nil || r.Removed < len(seqs) {
		return len(seqs), err
	}
	for _, c := range l.jobs {
		c.Gone, c.Why = true, ""
	}
	return 0, nil
}

// askHolder asks who has the lane. One that does not answer is waited for: it comes back, or its lease is over.
func (l *laneJobs) askHolder(ctx context.Context, s *session, q subjects.Queue, info streams.LaneInfo, seqs []uint64) error {
	one, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	reply, err := streams.AskWorker(one, s.nc, info.Holder.Worker, streams.ControlRequest{Verb: streams.VerbCancel, Queue: string(q), Lane: l.e.Token(), Seqs: seqs})
	if errors.Is(err, streams.ErrRefused) {
		return err
	}
	for _, c := range l.jobs {
		switch {
		case c.Gone:
		case err != nil && ctx.Err() != nil: // the time is over, which is no news of the job
			c.Why = info.Why
		case err != nil:
			c.Why = err.Error()
		case reply.Jobs[c.Seq] == streams.JobRunning:
			c.Was, c.Worker, c.Why = "running", info.Holder.Worker, "it is being ended on "+info.Holder.Worker
		default:
			c.Why = info.Why
		}
	}
	return nil
}
