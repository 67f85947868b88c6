package cli

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

// jobChoice names one job: by a sequence behind the queue, or by --id.
type jobChoice struct{ id, entity string }

func (c *jobChoice) bind(f *pflag.FlagSet) {
	f.StringVar(&c.id, "id", "", "the job with this `ID`, instead of a sequence; the newest, if there were several")
	f.StringVar(&c.entity, "entity", "", "the job's `TYPE.ID`; makes a search in a long history short")
}

func (c *jobChoice) ref(cmd *cobra.Command, args []string) (ref streams.JobRef, err error) {
	if (c.id == "") == (len(args) == 0) {
		return ref, usagef("usage: "+cmd.UseLine(), "say which job: by its sequence, or by --id")
	}
	seqs, err := sequences(args)
	if err != nil {
		return ref, err
	}
	if len(seqs) > 0 {
		ref.Seq = seqs[0]
	}
	if c.entity != "" {
		e, err := subjects.ParseEntity(c.entity)
		if err != nil {
			return ref, usage{err}
		}
		ref.Entity = &e
	}
	ref.ID = c.id
	return ref, nil
}

// onJob finds the job that the arguments name and runs do with all that is known of it.
func (a *App) onJob(cmd *cobra.Command, c *jobChoice, args []string, do func(q subjects.Queue, f streams.Found) error) error {
	q, err := queueArg(args[0])
	if err != nil {
		return err
	}
	ref, err := c.ref(cmd, args[1:])
	if err != nil {
		return err
	}
	return a.with(cmd.Context(), func(ctx context.Context, s *session) error {
		f, err := streams.FindJob(ctx, s.js, q, ref)
		if errors.Is(err, streams.ErrNotFound) {
			f, err = findDelayed(ctx, s, q, ref, err)
		}
		if err != nil {
			return err
		}
		return do(q, f)
	})
}

// findDelayed finds a job that waits for its time outside its lane: to be published, or tried again at the end of it.
// missing is the error when there is none.
func findDelayed(ctx context.Context, s *session, q subjects.Queue, ref streams.JobRef, missing error) (streams.Found, error) {
	job, due, err := schedule.Find(ctx, s.js, q, ref)
	if errors.Is(err, streams.ErrNotFound) {
		return streams.Found{}, missing
	}
	f := streams.Found{State: streams.JobDelayed, Job: &job, Due: due.UTC()}
	if job.Carried != nil {
		f.State = streams.JobRetrying
	}
	return f, err
}

func (a *App) jobInfo() *cobra.Command {
	var c jobChoice
	cmd := &cobra.Command{
		Use: "info QUEUE SEQ | info QUEUE --id ID", Short: "Show one job: unfinished, dead, or what the history tells of it", Args: takes("QUEUE", "[SEQ]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onJob(cmd, &c, args, func(q subjects.Queue, f streams.Found) error {
				switch {
				case f.Job != nil && a.json:
					return a.object(struct {
						State string    `json:"state"`
						Due   time.Time `json:"due_at,omitzero"`
						*streams.Job
						Lane *streams.LaneInfo `json:"lane,omitempty"`
					}{f.State, f.Due, f.Job, f.Lane})
				case f.Job != nil:
					a.tellUnfinished(f)
				case a.json:
					return a.object(struct {
						State string `json:"state"`
						streams.Finished
						DeadSeq uint64 `json:"dead_seq,omitempty"`
					}{f.State, finishedOf(f), deadSeq(f)})
				default:
					a.tellFinished(q, f)
				}
				return nil
			})
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

func (a *App) tellUnfinished(f streams.Found) {
	list := []fact{{"state", f.State}}
	switch {
	case f.Lane != nil:
		list = append(list, fact{"why", f.Lane.Why})
	case !f.Due.IsZero():
		list = append(list, fact{"why", fmt.Sprintf("it joins the end of its lane at %s (%s)", f.Due.Format("2006-01-02 15:04:05Z"), a.ahead(&f.Due))})
	}
	if c := f.Job.Carried; c != nil && (f.Lane == nil || f.Lane.Claim == nil) {
		list = append(list, countsFact(c.Counts))
	}
	a.facts(append(list, jobFacts(a, *f.Job)...))
	a.tellTries(f.Tries())
}

// finishedOf is what the history tells, or else what can be known from the dead letter.
func finishedOf(f streams.Found) streams.Finished {
	if f.Finished != nil {
		return *f.Finished
	}
	d := f.Dead
	r := streams.Finished{
		Seq: d.JobSeq, ID: d.ID, Kind: d.Kind, Entity: d.Entity, Outcome: lane.EndDead.String(), Cause: d.Cause, Error: d.Error,
		Attempts: d.Attempts, Worker: d.Worker, EndedAt: d.DiedAt, Tries: d.Tries,
	}
	if d.PublishedAt != nil {
		r.PublishedAt = *d.PublishedAt
	}
	if n := len(d.Tries); n > 0 {
		r.Log = d.Tries[n-1].Log
	}
	return r
}

func deadSeq(f streams.Found) uint64 {
	if f.Dead == nil {
		return 0
	}
	return f.Dead.Seq
}

func (a *App) tellFinished(q subjects.Queue, f streams.Found) {
	r := finishedOf(f)
	list := []fact{
		{"state", f.State},
		{"seq", r.Seq},
		{"entity", r.Entity},
		{"kind", r.Kind},
		{"id", r.ID},
		{"cause", r.Cause},
		{"error", r.Error},
		{"attempts", r.Attempts},
		{"published", a.when(r.PublishedAt)},
		{"started", a.when(r.StartedAt)},
		{"ended", a.when(r.EndedAt)},
		{"worker", r.Worker},
	}
	if !r.StartedAt.IsZero() {
		list = append(list, fact{"took", time.Duration(r.TookMS) * time.Millisecond})
	}
	if r.Fence != 0 {
		list = append(list, fact{"fence", r.Fence})
	}
	if r.Interrupted > 0 {
		list = append(list, fact{"interrupted", fmt.Sprintf("%d times", r.Interrupted)})
	}
	if f.Dead != nil {
		list = append(list, fact{"dead letter", fmt.Sprintf("%d, shown by: coordinator dead info %s %d", f.Dead.Seq, q, f.Dead.Seq)})
	}
	if r.Log != "" {
		list = append(list, fact{"log", fmt.Sprintf("its end is shown by: coordinator job logs %s %d", q, r.Seq)})
	}
	a.facts(list)
	a.tellTries(f.Tries())
}

// tellTries shows the attempts that failed.
func (a *App) tellTries(tries []lane.Try) {
	if len(tries) == 0 {
		return
	}
	fmt.Fprintln(a.Stdout)
	cells := make([][]any, len(tries))
	for i, t := range tries {
		cells[i] = []any{a.when(millis(t.Start)), took(t), t.Cause, t.Fence, t.Worker, shorten(t.Error, 80)}
	}
	a.table([]string{"failed attempt", "took", "cause", "fence", "session", "error"}, cells)
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func took(t lane.Try) string {
	if t.Start == 0 || t.End < t.Start {
		return ""
	}
	return (time.Duration(t.End-t.Start) * time.Millisecond).String()
}

// when is a time and how long ago it was, "" for none.
func (a *App) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format("2006-01-02 15:04:05Z"), a.age(t))
}

// attemptLog is the end of what one attempt printed.
type attemptLog struct {
	// Outcome is done, or why the attempt ended.
	Outcome string    `json:"outcome"`
	Error   string    `json:"error,omitempty"`
	Fence   uint64    `json:"fence,omitempty"`
	Worker  string    `json:"worker,omitempty"`
	EndedAt time.Time `json:"ended_at,omitzero"`
	Log     string    `json:"log"`
}

func (a *App) jobLogs() *cobra.Command {
	var c jobChoice
	cmd := &cobra.Command{
		Use: "logs QUEUE SEQ | logs QUEUE --id ID", Aliases: []string{"log"}, Short: "Print the end of what a job printed, attempt by attempt", Args: takes("QUEUE", "[SEQ]"),
		Long: `Print the end of what a job printed, attempt by attempt: of the attempts that failed, and of the last one when the job is over.

A few kilobytes of the last attempt are kept, and a few lines of the earlier ones, for as long as the queue's history and
dead letters last. All that a job prints is in the log of the worker that ran it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onJob(cmd, &c, args, func(_ subjects.Queue, f streams.Found) error {
				logs := attempts(f)
				if a.json {
					return a.object(logs)
				}
				return a.printLogs(f, logs)
			})
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

// attempts are the logs that are known. The last attempt's own record has more of it than the list of tries.
func attempts(f streams.Found) []attemptLog {
	logs := []attemptLog{}
	for _, t := range f.Tries() {
		logs = append(logs, attemptLog{t.Cause, t.Error, t.Fence, t.Worker, millis(t.End).UTC(), t.Log})
	}
	if f.Finished == nil {
		return logs
	}
	r := f.Finished
	last := attemptLog{r.Outcome, r.Error, r.Fence, r.Worker, r.EndedAt, r.Log}
	if n := len(logs); n > 0 && r.Outcome != lane.EndDone.String() && logs[n-1].Fence == r.Fence {
		last.Outcome, last.Worker = logs[n-1].Outcome, logs[n-1].Worker
		logs = logs[:n-1]
	}
	return append(logs, last)
}

func (a *App) printLogs(f streams.Found, logs []attemptLog) error {
	printed := false
	for _, l := range logs {
		if l.Log == "" {
			continue
		}
		printed = true
		head := fmt.Sprintf("--- %s %s", l.Outcome, a.when(l.EndedAt))
		if l.Error != "" {
			head += ": " + l.Error
		}
		fmt.Fprintln(a.Stderr, strings.TrimSpace(oneLine(head)))
		fmt.Fprintln(a.Stdout, strings.TrimRight(plainText(l.Log), "\n"))
	}
	switch {
	case f.State == streams.JobRuns:
		who := ""
		if f.Lane.Holder != nil {
			who = " on " + f.Lane.Holder.Worker
		}
		fmt.Fprintf(a.Stderr, "it runs now%s; what it prints stands in that worker's log until it ends\n", oneLine(who))
	case !printed && len(logs) == 0:
		return &said{errors.New("nothing is kept of what it printed"), "it has not been tried yet, or the policy keeps no more: coordinator queue info"}
	case !printed:
		fmt.Fprintln(a.Stderr, "it printed nothing")
	}
	return nil
}

// plainText keeps lines and drops what would move the cursor of a terminal.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

func jobFacts(a *App, job streams.Job) []fact {
	var seq any = job.Seq
	if job.Seq == 0 { // it has none yet
		seq = ""
	}
	list := []fact{
		{"seq", seq},
		{"entity", job.Entity},
		{"kind", job.Kind},
		{"id", job.ID},
		{"published", a.when(job.PublishedAt)},
		{"timeout", job.Timeout},
		{"on failure", job.OnFailure},
		{"on dead", job.OnDead},
		{"reply to", job.ReplyTo},
		{"traceparent", job.Traceparent},
		{"invalid", job.Invalid},
	}
	if job.MaxAttempts > 0 {
		list = append(list, fact{"max attempts", job.MaxAttempts})
	}
	names := make([]string, 0, len(job.Headers))
	for name := range job.Headers {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		list = append(list, fact{"header " + name, job.Headers[name]})
	}
	return append(list, fact{"data", fmt.Sprintf("%s (%d bytes)", shorten(string(job.Data), 400), job.Size)})
}
