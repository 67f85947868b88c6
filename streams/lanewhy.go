package streams

import (
	"fmt"
	"strings"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// LaneState is in one word why a lane does not move, or that it does.
type LaneState string

// The states of a lane.
const (
	// LaneEmpty: nothing waits.
	LaneEmpty LaneState = "empty"
	// LaneRunning: its head runs.
	LaneRunning LaneState = "running"
	// LaneSilent: it runs on a worker that has missed a beat. LaneLost: its worker is lost, and nobody has taken over yet.
	LaneSilent LaneState = "silent"
	LaneLost   LaneState = "lost"
	// LaneHeld: an operator's command has it.
	LaneHeld LaneState = "held"
	// LaneHalted: its head is dead and waits for an operator.
	LaneHalted LaneState = "halted"
	// LanePaused: the lane or the queue is paused.
	LanePaused LaneState = "paused"
	// LaneRetrying: its head failed and is tried again later.
	LaneRetrying LaneState = "retrying"
	// LaneMoving: its head is on its way to the dead letters, or to the end of the lane.
	LaneMoving LaneState = "moving"
	// LaneUnserved: no worker serves the queue, or none has a pool for the kind of the head.
	LaneUnserved LaneState = "unserved"
	// LaneLimited: as many jobs run as a limit allows.
	LaneLimited LaneState = "limited"
	// LaneQueued: its turn waits for a free slot. LaneDelivering: it is being given to a worker.
	LaneQueued     LaneState = "queued"
	LaneDelivering LaneState = "delivering"
	// LaneStranded: it has jobs and no turn, which the audit or the sweep mends.
	LaneStranded LaneState = "stranded"
)

// LaneStates lists all of them.
func LaneStates() []LaneState {
	return []LaneState{
		LaneEmpty, LaneRunning, LaneSilent, LaneLost, LaneHeld, LaneHalted, LanePaused, LaneRetrying, LaneMoving, LaneUnserved,
		LaneLimited, LaneQueued, LaneDelivering, LaneStranded,
	}
}

// tell says in a sentence why a lane does not move; the first thing in its way counts.
func (f *facts) tell() (LaneState, string, time.Time) {
	for _, look := range []func() (LaneState, string, time.Time){
		f.tellHeld, f.tellEmpty, f.tellRun, f.tellHalted, f.tellPaused, f.tellRetry, f.tellServed, f.tellLimit, f.tellTurn,
	} {
		if state, why, due := look(); state != "" {
			return state, why, due
		}
	}
	return LaneDelivering, "", time.Time{}
}

// active says that the claim is a living stream's.
func (f *facts) is(s lane.Standing) bool {
	return f.Claim != nil && f.Claim.State == s && f.about == f.created.UnixNano()
}

// ofHead says that the claim is about the present head.
func (f *facts) ofHead(s lane.Standing) bool {
	return f.is(s) && f.Head != nil && f.Claim.Job == f.Head.Seq
}

func (f *facts) tellHeld() (LaneState, string, time.Time) {
	if !f.is(lane.Held) || f.Holder == nil || f.Holder.State == StateLost || f.Holder.State == StateStopped {
		return "", "", time.Time{}
	}
	why := fmt.Sprintf("held by an operator's command since %s: %s (pid %d on %s)", f.when(f.Claim.Since), f.Holder.Worker, f.Holder.PID, f.Holder.Host)
	if f.Holder.Silent {
		return LaneSilent, why + fmt.Sprintf(", which is silent; its lease is over at %s", clockTime(f.Holder.LeaseOver)), f.Holder.LeaseOver
	}
	return LaneHeld, why, time.Time{}
}

func (f *facts) tellEmpty() (LaneState, string, time.Time) {
	if f.Head != nil {
		return "", "", time.Time{}
	}
	why := "nothing waits: the entity has no unfinished job"
	if c := f.Claim; c != nil && c.Passing && f.about == f.created.UnixNano() && c.NotBefore.After(f.At) {
		why = fmt.Sprintf("nothing waits in the lane: job %d %s, let others pass, and comes back at %s", c.Job, f.ended(), f.when(c.NotBefore))
	}
	if p := f.Paused; p != nil {
		why += "; the lane is " + f.pausedBy(p)
	}
	return LaneEmpty, why, time.Time{}
}

func (f *facts) tellRun() (LaneState, string, time.Time) {
	if !f.ofHead(lane.Running) && !f.is(lane.Held) {
		return "", "", time.Time{}
	}
	job := fmt.Sprintf("job %d (%s)", f.Head.Seq, f.Head.Kind)
	h := f.Holder
	switch {
	case h == nil:
		return LaneLost, fmt.Sprintf("%s ran on a worker whose record is gone (session %s); the next worker that takes its turn takes it over", job, f.Claim.Session), time.Time{}
	case h.State == StateLost || h.State == StateStopped:
		why := fmt.Sprintf("%s ran on worker %s, which is lost; %s", job, h.Worker, f.successor())
		return LaneLost, why, time.Time{}
	case h.Silent:
		return LaneSilent, fmt.Sprintf("%s runs on worker %s, which has been silent since %s; its lease is over at %s",
			job, h.Worker, clockTime(h.BeatAt), clockTime(h.LeaseOver)), h.LeaseOver
	}
	more := []string{fmt.Sprintf("attempt %d", f.Claim.Attempt)}
	if p := h.Progress; p != nil {
		more = append(more, p.String())
	}
	why := fmt.Sprintf("%s runs on worker %s since %s (%s)", job, h.Worker, f.when(f.Claim.Since), strings.Join(more, ", "))
	switch {
	case f.Paused != nil:
		why += "; the lane is " + f.pausedBy(f.Paused) + ", so the next one will wait"
	case f.QueuePaused != nil:
		why += "; the queue is " + f.pausedBy(f.QueuePaused) + ", so the next one will wait"
	}
	return LaneRunning, why, time.Time{}
}

// successor says what becomes of a lane whose worker is lost.
func (f *facts) successor() string {
	if len(f.serving) == 0 {
		return "no other worker serves queue " + f.Queue
	}
	return "another one takes over when its turn comes back, within the lease"
}

func (f *facts) tellHalted() (LaneState, string, time.Time) {
	if !f.ofHead(lane.Halted) {
		return "", "", time.Time{}
	}
	return LaneHalted, fmt.Sprintf("halted by job %d (%s), which %s; to go on: coordinator lane release %s %s [--bury]",
		f.Head.Seq, f.Head.Kind, f.ended(), f.Queue, f.Entity), time.Time{}
}

// endWords are the causes of a job's end as part of a sentence.
var endWords = map[string]string{
	"failed": "failed", "fatal": "failed for good", "crashed": "crashed", "memory": "took too much memory", "lost": "was lost",
	"invalid": "is invalid", "": "failed",
}

// ended says what a claim's job came to.
func (f *facts) ended() string {
	c := f.Claim
	text, known := endWords[c.Cause]
	if !known {
		text = strings.TrimSpace("failed " + c.Cause)
	}
	if c.Error != "" {
		text += ": " + c.Error
	}
	return text
}

func (f *facts) tellPaused() (LaneState, string, time.Time) {
	switch {
	case f.Paused != nil:
		return LanePaused, f.pausedBy(f.Paused), f.Paused.Until
	case f.QueuePaused != nil:
		return LanePaused, "the whole queue is " + f.pausedBy(f.QueuePaused), f.QueuePaused.Until
	}
	return "", "", time.Time{}
}

func (f *facts) pausedBy(p *PauseRecord) string {
	text := "paused"
	if p.By != "" {
		text += " by " + p.By
	}
	text += " since " + f.when(p.At)
	if !p.Until.IsZero() {
		text += ", until " + clockTime(p.Until)
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

func (f *facts) tellRetry() (LaneState, string, time.Time) {
	c := f.Claim
	switch {
	case f.ofHead(lane.GivenBack) && c.Dying:
		return LaneMoving, fmt.Sprintf("job %d (%s) is dead and on its way to the dead letters", c.Job, f.ended()), time.Time{}
	case f.ofHead(lane.GivenBack) && c.Passing:
		return LaneMoving, fmt.Sprintf("job %d (%s) is on its way to the end of the lane", c.Job, f.ended()), time.Time{}
	case !f.ofHead(lane.Waiting) || !c.NotBefore.After(f.At):
		return "", "", time.Time{}
	}
	attempt := fmt.Sprint(max(c.Counts.Attempt()-1, 1))
	if f.attempts > 0 && c.Cause == "failed" { // whose limit has no regard to crashes and losses
		attempt = fmt.Sprintf("%d of %d", c.Attempts, f.attempts)
	}
	why := fmt.Sprintf("retry of job %d at %s (attempt %s %s)", c.Job, f.when(c.NotBefore), attempt, f.ended())
	if len(f.serving) == 0 {
		why += "; no worker serves queue " + f.Queue
	}
	return LaneRetrying, why, c.NotBefore
}

// tellServed asks whether anybody would take the head.
func (f *facts) tellServed() (LaneState, string, time.Time) {
	running, quiet := 0, 0
	for _, w := range f.serving {
		switch w.State {
		case StateRunning:
			running++
		case StateQuiet, StateStopping:
			quiet++
		}
	}
	switch {
	case running == 0 && quiet > 0:
		return LaneUnserved, fmt.Sprintf("no worker takes jobs of queue %s: all %d that serve it are quiet or stopping", f.Queue, quiet), time.Time{}
	case running == 0:
		return LaneUnserved, fmt.Sprintf("no worker serves queue %s; start one: workerd --queue %s -- ./handle.sh", f.Queue, f.Queue), time.Time{}
	case f.Head.Invalid != "":
		return "", "", time.Time{}
	}
	for _, w := range f.serving {
		if w.State == StateRunning && w.serves(f.Head.Kind) {
			return "", "", time.Time{}
		}
	}
	return LaneUnserved, fmt.Sprintf("job %d is of kind %s, for which none of the %d worker(s) of queue %s has a pool", f.Head.Seq, f.Head.Kind, running, f.Queue), time.Time{}
}

// serves says whether a worker may have a pool for the kind: it has unless all its pools say that they are for others.
func (r SessionRecord) serves(kind string) bool {
	for _, p := range r.Pools {
		if serves, known := p.Serves(kind); serves || !known {
			return true
		}
	}
	return len(r.Pools) == 0
}

// tellLimit asks whether a limit is in the way.
func (f *facts) tellLimit() (LaneState, string, time.Time) {
	if f.limit == "" {
		return "", "", time.Time{}
	}
	return LaneLimited, f.limit, time.Time{}
}

// tellTurn is what is left: the lane could be taken.
func (f *facts) tellTurn() (LaneState, string, time.Time) {
	head := fmt.Sprintf("job %d (%s)", f.Head.Seq, f.Head.Kind)
	slots := fmt.Sprintf("%d of %d slots of %d worker(s) are busy", f.Busy, f.Slots, f.Workers)
	if f.Slots == 0 {
		slots = fmt.Sprintf("%d worker(s) had no slot at their last beat", f.Workers)
	}
	switch {
	case f.Turn == nil && !f.audit.IsZero():
		return LaneStranded, fmt.Sprintf("the lane's turn is missing; the audit looks at it %s", f.in(f.audit)), f.audit
	case f.Turn == nil:
		return LaneStranded, "the lane's turn is missing; the next sweep gives it one, within seconds when lanes are short of turns, else within five minutes", time.Time{}
	case !f.Turn.Delivered:
		return LaneQueued, fmt.Sprintf("%s waits for a free slot behind at most %d lane(s): its turn is there, %d lane(s) are runnable, %s", head, f.Ahead, f.Runnable, slots), time.Time{}
	}
	if c := f.Claim; f.is(lane.Running) && c.Job < f.Head.Seq && f.Holder != nil && f.Holder.State == StateRunning {
		return LaneDelivering, fmt.Sprintf("%s is next: worker %s has just ended job %d of the lane and goes on, or another one does within %s",
			head, f.Holder.Worker, c.Job, f.policy.Lease), time.Time{}
	}
	return LaneDelivering, fmt.Sprintf("%s is being delivered to a worker right now, or will be within %s (%s)", head, f.policy.Lease, slots), time.Time{}
}

// String is how far a job is: "40 of 100 uploading".
func (p *ProgressRecord) String() string {
	if p == nil {
		return ""
	}
	text := fmt.Sprintf("%g", p.At)
	if p.Of > 0 {
		text += fmt.Sprintf(" of %g", p.Of)
	}
	return strings.TrimSpace(text + " " + p.Note)
}

// when is a moment and how far it is from now.
func (f *facts) when(t time.Time) string {
	if d := t.Sub(f.At); d >= 0 {
		return fmt.Sprintf("%s (in %s)", clockTime(t), rough(d))
	}
	return fmt.Sprintf("%s (%s ago)", clockTime(t), rough(f.At.Sub(t)))
}

// in is how long it takes until a moment.
func (f *facts) in(t time.Time) string {
	if d := t.Sub(f.At); d > 0 {
		return "in " + rough(d)
	}
	return "now"
}

// rough is a duration for people.
func rough(d time.Duration) string {
	switch {
	case d < time.Minute:
		return max(d.Round(time.Second), 0).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func clockTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
