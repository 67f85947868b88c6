package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
	"github.com/seriatim/seriatim/workerd/config"
)

// waitFlags say whether to wait for a job's outcome, and how long.
type waitFlags struct {
	wait  bool
	bound string
}

func (w *waitFlags) bind(f *pflag.FlagSet) {
	f.BoolVar(&w.wait, "wait", false, "wait for the outcome and print the job's result; exit code 0 when it is done, 1 when it is dead, halted or cancelled")
	f.StringVar(&w.bound, "wait-timeout", "", "stop waiting after so long, such as 10m; the job goes on (default: wait for ever)")
}

// limit is 0 for none.
func (w *waitFlags) limit() (time.Duration, error) {
	if w.bound == "" {
		return 0, nil
	}
	if !w.wait {
		return 0, usagef("", "--wait-timeout goes with --wait")
	}
	d, err := config.ParseDuration(w.bound)
	if err != nil || d <= 0 {
		return 0, usagef("write it as 30s or 10m", "--wait-timeout: %q is no duration above 0", w.bound)
	}
	return d, nil
}

// publishAndWait publishes a job, now or for later, and prints how it ended. ctx has no deadline.
func (a *App) publishAndWait(ctx context.Context, s *session, q subjects.Queue, e subjects.Entity, o streams.PublishOptions, when *schedule.When, bound time.Duration) error {
	w, err := a.await(s, q, e, &o)
	if err != nil {
		return err
	}
	defer w.close()
	stored, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var duplicate bool
	if when != nil {
		d, err := schedule.Publish(stored, s.js, q, e, o, *when)
		if err != nil {
			return badOption(err)
		}
		w.id, w.after, duplicate = d.ID, d.StoredAt, d.Duplicate()
	} else {
		if w.seq, duplicate, err = streams.Publish(stored, s.nc, q, e, o); err != nil {
			return badOption(err)
		}
		if w.id = o.ID; w.id == "" {
			w.id = fmt.Sprintf("%s-%d", q, w.seq)
		}
	}
	if duplicate && !a.json {
		fmt.Fprintf(a.Stderr, "a job with id %s was stored before; this one was not, and the outcome is that one's\n", oneLine(w.id))
	}
	r, err := w.run(ctx, bound)
	if err != nil {
		return err
	}
	return w.ended(r, duplicate)
}

// outcome waits for one job. Replies tell it at once, but a reply is sent once and may be lost, with a connection or a
// worker: so the stores are looked into as well, now and then.
type outcome struct {
	a  *App
	s  *session
	q  subjects.Queue
	e  subjects.Entity
	id string
	// seq is 0 while the job is not in the queue yet; then after is when it was stored, for it may not be the first of its
	// id.
	seq     uint64
	after   time.Time
	replies chan *nats.Msg
	sub     *nats.Subscription
	drawn   bool // a line of progress stands on the terminal
}

// await subscribes for the replies of a job that is about to be published; its options are given the subject.
func (a *App) await(s *session, q subjects.Queue, e subjects.Entity, o *streams.PublishOptions) (*outcome, error) {
	w := &outcome{a: a, s: s, q: q, e: e, replies: make(chan *nats.Msg, 256)}
	// Not an inbox: those of one account are not heard in another, and publishers may have their own.
	o.ReplyTo = "results." + string(q) + "." + nuid.Next()
	var err error
	if w.sub, err = s.nc.ChanSubscribe(o.ReplyTo, w.replies); err == nil {
		err = s.nc.FlushTimeout(s.timeout) // else the job may be done before anybody listens
	}
	return w, err
}

func (w *outcome) close() { _ = w.sub.Unsubscribe() } // fails only on a connection that is closed

const (
	// The stores are looked into soon at first, for a job that is over before the reply can come.
	waitPoll     = time.Second
	waitPollMost = 5 * time.Second
	// goneGrace is how long a job may be in no store: between two of them, or done with its reply on the way.
	goneGrace = 5 * time.Second
	// replyGrace is how long a reply may be on its way when the stores tell how the job ended: it is sent after its record.
	replyGrace = 2 * time.Second
)

// run returns the last reply, or one made from what the stores tell.
func (w *outcome) run(ctx context.Context, bound time.Duration) (streams.Reply, error) {
	defer w.erase()
	if bound > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, bound)
		defer cancel()
	}
	gone := time.Time{}
	poll := waitPoll
	timer := time.NewTimer(poll)
	defer timer.Stop()
	for {
		select {
		case m := <-w.replies:
			if r, err := streams.ReadReply(m.Data); err == nil {
				if r.Final() {
					return r, nil
				}
				w.show(r)
			}
		case <-timer.C:
			r, there, err := w.look(ctx)
			switch {
			case err != nil: // the server is away: it is asked again
			case r.Final():
				return w.last(ctx, r), nil
			case there:
				gone = time.Time{}
			case gone.IsZero():
				gone = time.Now()
			case time.Since(gone) >= goneGrace:
				return w.last(ctx, streams.Reply{}), nil
			}
			poll = min(2*poll, waitPollMost)
			timer.Reset(poll)
		case <-ctx.Done():
			return streams.Reply{}, w.given(ctx, bound)
		}
	}
}

// given says that the waiting is over and the job is not.
func (w *outcome) given(ctx context.Context, bound time.Duration) error {
	hint := fmt.Sprintf("the job goes on; look at it with: coordinator job info %s --id %s --entity %s", w.q, w.id, w.e)
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return &said{fmt.Errorf("job %s of %s is not over after %s", w.id, w.e, bound), hint}
	}
	return &said{fmt.Errorf("stopped waiting for job %s of %s", w.id, w.e), hint}
}

// last prefers a reply to what the stores tell: it has the result.
func (w *outcome) last(ctx context.Context, r streams.Reply) streams.Reply {
	bound := time.NewTimer(replyGrace)
	defer bound.Stop()
	for {
		select {
		case m := <-w.replies:
			if reply, err := streams.ReadReply(m.Data); err == nil && reply.Final() {
				return reply
			}
		case <-bound.C:
			return r
		case <-ctx.Done():
			return r
		}
	}
}

// look asks the stores: what is the job's end, or else is it there at all?
func (w *outcome) look(ctx context.Context) (r streams.Reply, there bool, err error) {
	if w.seq != 0 {
		if r, there, err = w.lookAt(ctx); there || err != nil {
			return r, there, err
		}
	}
	f, err := streams.FindJob(ctx, w.s.js, w.q, streams.JobRef{ID: w.id, Entity: &w.e})
	switch {
	case errors.Is(err, streams.ErrNotFound):
		return r, w.delayed(ctx), nil
	case err != nil:
		return r, false, err
	}
	r = streams.Reply{Queue: string(w.q), Entity: w.e.String(), ID: w.id, Outcome: f.State}
	switch {
	case f.Job != nil:
		r.Seq, r.Kind = f.Job.Seq, f.Job.Kind
		if f.Lane != nil && f.Lane.Claim != nil {
			r.Cause, r.Error, r.Attempts = f.Lane.Claim.Cause, f.Lane.Claim.Error, f.Lane.Claim.Attempt
		}
		return r, true, nil
	default:
		is := finishedOf(f)
		if w.seq != 0 && is.Seq < w.seq || is.EndedAt.Before(w.after) {
			return streams.Reply{}, w.delayed(ctx), nil // an earlier job of this id
		}
		r.Seq, r.Kind, r.Cause, r.Error, r.Attempts, r.Worker, r.Fence = is.Seq, is.Kind, is.Cause, is.Error, is.Attempts, is.Worker, is.Fence
		return r, true, nil
	}
}

// lookAt is look for a job that is still where it was published, in two requests.
func (w *outcome) lookAt(ctx context.Context) (r streams.Reply, there bool, err error) {
	_, err = streams.GetMessage(ctx, w.s.js, w.q.JobsStream(), w.seq)
	if errors.Is(err, streams.ErrNotFound) {
		return r, false, nil
	}
	if err != nil {
		return r, false, err
	}
	m, err := streams.LastMessage(ctx, w.s.js, w.q.ClaimsStream(), w.q.ClaimSubject(w.e))
	if errors.Is(err, streams.ErrNotFound) {
		return r, true, nil
	}
	if err != nil {
		return r, true, err
	}
	if c, err := lane.DecodeRecord(m.Seq, m.Data); err == nil && c.Job == w.seq && c.State == lane.Halted {
		r.Outcome, r.Seq, r.Cause, r.Error, r.Attempts = lane.EndHalted.String(), w.seq, c.Cause, c.Error, c.Attempt
	}
	return r, true, nil
}

// delayed says that the job waits for its time, or for its next attempt at the end of its lane.
func (w *outcome) delayed(ctx context.Context) bool {
	list, err := schedule.ListDelayed(ctx, w.s.js, w.q, 0)
	if err != nil {
		return true // not known: it is asked again
	}
	for _, d := range list {
		if d.ID == w.id && d.Entity == w.e.String() {
			return true
		}
	}
	return false
}

// show tells a person at a terminal what the job does meanwhile.
func (w *outcome) show(r streams.Reply) {
	if !w.a.Watches {
		return
	}
	w.erase()
	if r.Outcome == streams.OutcomeRetry {
		fmt.Fprintf(w.a.Stderr, "attempt %d failed: %s\n", r.Attempts, oneLine(shorten(r.Error, 200)))
		return
	}
	text := strings.TrimSpace(progressText(r) + " " + r.Note)
	fmt.Fprintf(w.a.Stderr, "\r%s", shorten(oneLine(text), 100))
	w.drawn = true
}

func progressText(r streams.Reply) string {
	switch {
	case r.Of > 0:
		return fmt.Sprintf("%3.0f%%  %g of %g", 100*r.At/r.Of, r.At, r.Of)
	case r.At != 0:
		return fmt.Sprintf("%g", r.At)
	}
	return ""
}

func (w *outcome) erase() {
	if w.drawn {
		fmt.Fprint(w.a.Stderr, "\r\x1b[K")
		w.drawn = false
	}
}

// ended prints an outcome. Only a job that is done is no error.
func (w *outcome) ended(r streams.Reply, duplicate bool) error {
	var failed error
	named := fmt.Sprintf("job %s of %s", w.id, w.e)
	switch r.Outcome {
	case lane.EndDone.String():
	case "":
		failed = &said{
			fmt.Errorf("%s is over, and nothing tells how it ended", named),
			fmt.Sprintf("the reply was lost and queue %s kept no record; to keep one of every job: coordinator queue edit %s --history all", w.q, w.q),
		}
	default:
		text := fmt.Sprintf("%s is %s", named, r.Outcome)
		if r.Cause != "" && r.Cause != r.Outcome {
			text += " (" + r.Cause + ")"
		}
		if r.Error != "" {
			text += ": " + oneLine(r.Error)
		}
		failed = &said{errors.New(text), fmt.Sprintf("see: coordinator job logs %s --id %s --entity %s", w.q, w.id, w.e)}
	}
	if w.a.json {
		if r.Outcome == "" {
			r.Outcome = "unknown"
		}
		r.Queue, r.Entity, r.ID = string(w.q), w.e.String(), w.id
		return errors.Join(w.a.object(struct {
			streams.Reply
			Duplicate bool `json:"duplicate"`
		}{r, duplicate}), failed)
	}
	body, err := r.Body()
	switch {
	case err != nil:
		return err
	case r.ResultBytes > 0:
		fmt.Fprintf(w.a.Stderr, "its result of %d bytes was too large for a message\n", r.ResultBytes)
	case len(body) > 0:
		if _, err := w.a.Stdout.Write(body); err != nil {
			return err
		}
		if utf8.Valid(body) && body[len(body)-1] != '\n' {
			fmt.Fprintln(w.a.Stdout)
		}
	}
	return failed
}
