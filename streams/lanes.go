package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// LaneInfo is a lane as people see it. Its parts are read one after another while the lane lives, so the last one may
// know more than the first.
type LaneInfo struct {
	Queue  string `json:"queue"`
	Entity string `json:"entity"`
	// State is in one word what Why says in a sentence: why the lane does not move, or that it does.
	State LaneState `json:"state"`
	Why   string    `json:"why"`
	// Jobs are unfinished; Head is the first of them, the only one that may run.
	Jobs uint64   `json:"jobs"`
	Head *JobInfo `json:"head,omitempty"`
	// Claim is the lane's record, also one that a finished job has left.
	Claim *ClaimInfo `json:"claim,omitempty"`
	Turn  *TurnInfo  `json:"turn,omitempty"`
	// Holder is the session that the claim names, where it has left a record.
	Holder *HolderInfo `json:"holder,omitempty"`
	// Paused and QueuePaused are the pauses that stand.
	Paused      *PauseRecord `json:"paused,omitempty"`
	QueuePaused *PauseRecord `json:"queue_paused,omitempty"`
	// Due is when that what the lane waits for is over, if that is known.
	Due time.Time `json:"due,omitzero"`
	// Runnable are the lanes of the queue whose turn nobody has taken; Ahead is how many of them come before this one, at
	// most.
	Runnable uint64 `json:"runnable"`
	Ahead    uint64 `json:"ahead"`
	// Workers are those that live and serve the queue, Slots and Busy theirs.
	Workers int `json:"workers"`
	Slots   int `json:"slots"`
	Busy    int `json:"busy"`
	// Limits are those that the head is under.
	Limits []LimitInfo `json:"limits,omitempty"`
	// At is the server's clock.
	At time.Time `json:"at"`
}

// ClaimInfo is a lane's record.
type ClaimInfo struct {
	State   lane.Standing `json:"state"`
	Job     uint64        `json:"job"`
	Session string        `json:"session"`
	// Fence is that of the run, Attempt its number.
	Fence   uint64 `json:"fence"`
	Attempt int    `json:"attempt"`
	// Counts and Tries are, of the present head, also those of its earlier places in the lane.
	lane.Counts
	Since     time.Time `json:"since,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Cause     string    `json:"cause,omitempty"`
	Error     string    `json:"error,omitempty"`
	Stolen    bool      `json:"stolen,omitempty"`
	Dying     bool      `json:"dying,omitempty"`
	Passing   bool      `json:"passing,omitempty"`
	// Tries are the starts that ended badly, the oldest first.
	Tries []lane.Try `json:"tries,omitempty"`
}

// TurnInfo is a lane's turn.
type TurnInfo struct {
	Seq uint64    `json:"seq"`
	At  time.Time `json:"at"`
	// Delivered: somebody was given it, or it comes back after a delay.
	Delivered bool `json:"delivered"`
}

// HolderInfo is who has a lane.
type HolderInfo struct {
	Worker string    `json:"id"`
	Host   string    `json:"host"`
	PID    int       `json:"pid"`
	State  string    `json:"state"`
	BeatAt time.Time `json:"beat_at"`
	// LeaseOver is when its session can be declared dead, if it stays silent.
	LeaseOver time.Time `json:"lease_over"`
	// Silent: it has missed a beat.
	Silent bool `json:"silent,omitempty"`
	// Progress is what the job says of itself.
	Progress *ProgressRecord `json:"progress,omitempty"`
}

// facts is what a lane's state is told from.
type facts struct {
	LaneInfo
	q       subjects.Queue
	policy  Policy
	created time.Time // of the jobs stream
	about   int64     // the creation time of the stream that the claim is about
	// absolved: what the claim's job was charged with in earlier places does not count any more.
	absolved bool
	// attempts is the limit of failures that holds for the head.
	attempts int
	serving  []SessionRecord
	over     map[string]bool // sessions that are
	limit    string          // which limit is in the way; empty is none
	// audit is when the audit will look at the lane, zero when it has.
	audit time.Time
}

// GetLane reads all that there is to know of one lane, in some ten requests, and says why it does not move. A lane
// without jobs is no error: nothing tells it from one that never was. Errors are ErrUnknownQueue and the trouble with
// the server.
func GetLane(ctx context.Context, js jetstream.JetStream, q subjects.Queue, e subjects.Entity) (LaneInfo, error) {
	loaded, err := LoadQueue(ctx, js, q)
	if err != nil {
		return LaneInfo{}, err
	}
	f := facts{LaneInfo: LaneInfo{Queue: string(q), Entity: e.String()}, q: q, policy: loaded.Policy, created: loaded.Created}
	for _, read := range []func(context.Context, jetstream.JetStream, subjects.Entity) error{
		f.readPauses, f.readClaim, f.readHead, f.readTurn, f.readHolder, f.readLimits,
	} {
		if err := read(ctx, js, e); err != nil && !isMissing(err) {
			return LaneInfo{}, explain(fmt.Sprintf("look at %s in %s", e, q), q, err)
		}
	}
	f.State, f.Why, f.Due = f.tell()
	return f.LaneInfo, nil
}

func (f *facts) readPauses(ctx context.Context, js jetstream.JetStream, e subjects.Entity) error {
	r, paused, _, err := readPause(ctx, js, f.q, pausedQueue)
	if err != nil {
		return err
	}
	if paused {
		f.QueuePaused = &r
	}
	own, paused, _, err := readPause(ctx, js, f.q, e.Key())
	if paused {
		f.Paused = &own
	}
	return err
}

func (f *facts) readClaim(ctx context.Context, js jetstream.JetStream, e subjects.Entity) error {
	m, err := LastMessage(ctx, js, f.q.ClaimsStream(), f.q.ClaimSubject(e))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := lane.DecodeRecord(m.Seq, m.Data)
	if err != nil {
		return err
	}
	f.about, f.absolved, f.Claim = r.Created, r.Absolved, claimInfo(r, m.Time)
	return nil
}

func claimInfo(r lane.Record, stored time.Time) *ClaimInfo {
	c := &ClaimInfo{
		State: r.State, Job: r.Job, Session: r.Session, Fence: r.RunFence(), Attempt: r.Attempt, Counts: r.Counts,
		Since: stored, Cause: r.Cause, Error: r.Error, Stolen: r.Stolen, Dying: r.Dying, Passing: r.Passing, Tries: r.Tries,
	}
	if r.Since != 0 && r.State == lane.Running {
		c.Since = time.UnixMilli(r.Since).UTC()
	}
	if r.NotBefore != 0 {
		c.NotBefore = time.UnixMilli(r.NotBefore).UTC()
	}
	return c
}

func (f *facts) readHead(ctx context.Context, js jetstream.JetStream, e subjects.Entity) error {
	var info struct {
		Error *jetstream.APIError `json:"error"`
		At    time.Time           `json:"ts"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	subject := f.q.JobSubject(e)
	if err := request(ctx, js.Conn(), "STREAM.INFO."+f.q.JobsStream(), map[string]any{"subjects_filter": subject}, &info); err != nil {
		return err
	}
	if info.Error != nil {
		return info.Error
	}
	f.At, f.Jobs = info.At, info.State.Subjects[subject]
	m, err := FirstMessage(ctx, js, f.q.JobsStream(), subject)
	if errors.Is(err, ErrNotFound) {
		f.Jobs = 0
		return nil
	}
	if err != nil {
		return err
	}
	head := JobOf(f.q, m)
	f.Head, f.Jobs = &head.JobInfo, max(f.Jobs, 1)
	if f.attempts = head.MaxAttempts; f.attempts == 0 {
		f.attempts = f.policy.MaxAttempts
	}
	if c := f.Claim; c != nil && c.Job == head.Seq && f.about == f.created.UnixNano() && !f.absolved {
		c.bring(head.Carried)
	}
	return nil
}

// bring adds what the claim's job was charged with in earlier places of its lane.
func (c *ClaimInfo) bring(before *Carried) {
	if before == nil {
		return
	}
	c.Counts = before.Counts.Plus(c.Counts)
	c.Attempt += before.Counts.Attempt() - 1
	c.Tries = append(slices.Clone(before.Tries), c.Tries...)
}

// auditAfter is how long workers leave a job alone before the audit looks whether its lane has a turn.
const auditAfter = 5 * time.Second

func (f *facts) readTurn(ctx context.Context, js jetstream.JetStream, e subjects.Entity) error {
	if f.Head == nil {
		return nil
	}
	c, err := getConsumer(ctx, js, f.q.TurnsStream(), subjects.TurnsConsumer)
	if err != nil {
		return err
	}
	f.Runnable = c.NumPending
	m, err := LastMessage(ctx, js, f.q.TurnsStream(), f.q.TurnSubject(e))
	if err == nil {
		f.Turn = &TurnInfo{Seq: m.Seq, At: m.Time, Delivered: m.Seq <= c.Delivered.Stream}
		if !f.Turn.Delivered {
			f.Ahead = min(m.Seq-c.Delivered.Stream-1, max(f.Runnable, 1)-1)
		}
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	a, err := getConsumer(ctx, js, f.q.JobsStream(), subjects.AuditConsumer)
	if err != nil {
		return err
	}
	// The audit looks at each job once; any job of the lane will do.
	next, err := getMessage(ctx, js, f.q.JobsStream(), map[string]any{"seq": a.Delivered.Stream + 1, "next_by_subj": f.q.JobSubject(e)}, "")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	f.audit = next.Time.Add(auditAfter)
	return err
}

// readHolder reads the sessions: that of the claim, and who else could take the lane.
func (f *facts) readHolder(ctx context.Context, js jetstream.JetStream, _ subjects.Entity) error {
	workers, err := ListWorkers(ctx, js)
	if err != nil {
		return err
	}
	f.over = map[string]bool{}
	for _, w := range workers {
		f.over[w.Session] = !w.Living()
		if f.Claim != nil && w.Session == f.Claim.Session {
			f.Holder = f.holder(w)
		}
		if w.Living() && w.State != StateOperator && slices.Contains(w.Queues, f.Queue) {
			f.serving = append(f.serving, w)
			f.Slots += w.Slots
			f.Busy += w.Busy
		}
	}
	f.Workers = len(f.serving)
	return nil
}

func (f *facts) holder(w SessionRecord) *HolderInfo {
	h := &HolderInfo{Worker: w.Worker, Host: w.Host, PID: w.PID, State: w.State, BeatAt: w.BeatAt, LeaseOver: w.BeatAt.Add(w.Lease())}
	h.Silent = w.Living() && f.At.Sub(w.BeatAt) > w.Lease()*2/3
	for _, j := range w.Jobs {
		if j.Queue == f.Queue && j.Seq == f.Claim.Job {
			h.Progress = j.At
		}
	}
	return h
}
