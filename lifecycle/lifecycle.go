// Package lifecycle is everything that is said to the operating system about child processes: it starts them, hands
// them jobs, reads their answers and logs, and ends them with everything in their process group. It knows no NATS.
//
// Two kinds of pool run jobs. An exec pool starts a process per job; its exit code is the answer. A child pool keeps
// processes alive and feeds them frames (package frames); a child that dies is started again with backoff.
//
// Invariants:
//   - Every child leads a process group of its own. The group is signalled as a whole, and only before its leader is
//     reaped: afterwards the number may belong to somebody else.
//   - When a leader exits, whatever it left in its group is killed before the leader is reaped.
//   - A Result with GroupEmpty says that nothing of the job can still run, as far as its process group tells. Without
//     it that could not be shown within Config.EmptyWait of the KILL (a process stuck in the kernel), and the job must
//     not be given to anybody else.
//   - Nothing that a child does makes a caller wait for ever: not its pipes (a stranger may hold them), not its standard
//     input (it may not read), not its frames (they may be garbage). Only Log, OnEvent and OnProgress can hold up a
//     pool, and they must return soon.
//   - A child dies with its pool's launching thread (on Linux), so a workerd that is killed leaves no children of its
//     own. Their grandchildren are not covered by that.
//
// Failure: a Result tells a job's failure; an Event tells a child's. Nothing is logged here.
package lifecycle

import (
	"context"
	"errors"
	"time"
)

// Job is what a process is told about its job.
type Job struct {
	Queue string
	// Entity is the raw form, `build.123`; Type and EntityID are its two parts.
	Entity, Type, EntityID string
	Kind, ID               string
	// Seq is the job's sequence in its stream; Fence is the lane's fencing token.
	Seq, Fence uint64
	// Attempt counts from 1.
	Attempt int
	// Timeout is the longest that the job may run, from its hand-over to a process; 0 is no limit.
	Timeout time.Duration
	// Headers are the publisher's own.
	Headers     map[string]string
	Traceparent string
	Body        []byte
	// Kill, when it is closed, ends the job's whole group with KILL, at once, also when its context ended before and it
	// is being ended gently. nil is never.
	Kill <-chan struct{}
	// Started is called once when a process has the job, with its pid, which is its group's too; nil is nobody. It is
	// called on Run's goroutine and must return soon.
	Started func(pid int)
}

// Cause says how a run ended. The zero value is none.
type Cause int

// How a run may end.
const (
	// Done is exit code 0, or a `done` frame.
	Done Cause = iota + 1
	// Failed is any other exit code but 100, or a `fail` frame: it may be tried again.
	Failed
	// FailedForGood is exit code 100, a `fail` frame with retry false, or a job that no process can be given.
	FailedForGood
	// TimedOut is a job that ran past its timeout and was ended here.
	TimedOut
	// Crashed is a process that died by a signal which nobody here sent, or, of a child with frames, that died or broke
	// the protocol while it had the job.
	Crashed
	// Interrupted is a job that was ended here for a reason which is not the job's: its context, a stop of the pool, or
	// a neighbour in the same child that had to be killed.
	Interrupted
	// NotStarted is a job that no process has seen: nothing could be started, no child was ready, or the child died
	// before it read the frame.
	NotStarted
	// Memory is a job whose process was ended because it used too much memory: by the guard, or by the kernel. Of several
	// jobs in one child it is the one during which the child grew most; the others are Interrupted.
	Memory
)

var causeNames = [...]string{"none", "done", "failed", "failed for good", "timed out", "crashed", "interrupted", "not started", "memory"}

// String is the cause in words, for logs.
func (c Cause) String() string {
	if c < 0 || int(c) >= len(causeNames) {
		return "unknown"
	}
	return causeNames[c]
}

// Result is how a run ended.
type Result struct {
	Cause Cause
	// Err is the reason in words, one line of at most MaxError bytes: the process's own last words where it had any. It
	// is "" when Cause is Done.
	Err string
	// RetryIn is when the job asks to be tried again; 0 leaves it to the queue.
	RetryIn time.Duration
	// Body is the result that a child sent with `done`.
	Body []byte
	// Log is the end of what the job printed on both streams, at most MaxLog bytes of valid UTF-8. Of a child with
	// frames it is what the child printed while it had the job; LogShared says that it had other jobs meanwhile.
	Log       string
	LogShared bool
	// StartedAt is when a process got the job, zero when none did, and Took how long it had it.
	StartedAt time.Time
	Took      time.Duration
	// GroupEmpty is false when it could not be shown that the job's processes are gone: then nothing may be given back.
	GroupEmpty bool
}

// MaxError bounds Result.Err in bytes.
const MaxError = 1024

// What a job's context may be cancelled with (context.WithCancelCause). Any other cause, and a plain cancel, mean a
// shutdown: the process is told (a cancel frame), its group gets TERM at once and KILL after Config.KillAfter.
var (
	// ErrKillNow ends the job's whole group with KILL, at once.
	ErrKillNow = errors.New("kill now")
	// ErrCancel ends one job gently: a child is told by a frame and has Config.KillAfter to answer before its group gets
	// TERM, so that its other jobs live on. An exec job is ended as in a shutdown.
	ErrCancel = errors.New("cancelled")
)

// Pool runs jobs in child processes. All methods may be called from any goroutine.
type Pool interface {
	// Run hands the job to a process and returns when the job is over: the process answered, or its group is gone. When
	// all slots are taken it waits for one, at most Config.SlotWait. The context's cause says how to end the job early.
	Run(ctx context.Context, j Job) Result

	// Slots is how many jobs may run at once now: the sum over all ready children, or an exec pool's concurrency.
	Slots() int

	// OnSlots sets the function that is called with Slots whenever that changes. Calls come one at a time, the last one
	// has the last number. It must return soon and must not call Start or Stop.
	OnSlots(func(slots int))

	// Start makes the pool take jobs. It does not wait for children to be ready; ctx bounds only the call itself.
	// A pool starts once: afterwards the error is ErrStarted, and after Stop ErrStopped.
	Start(ctx context.Context) error

	// Stop takes no more jobs, lets those that run finish, ends all processes and returns when their groups are empty.
	// When ctx ends first, the groups get TERM and after Config.KillAfter KILL; with cause ErrKillNow KILL at once.
	// It may be called first, twice, and by several: each one's ctx can make it faster.
	Stop(ctx context.Context)

	// Children lists the processes of the pool as they are now.
	Children() []ChildInfo
}

// What Start and Run may find.
var (
	ErrStarted = errors.New("the pool was started before")
	ErrStopped = errors.New("the pool is stopped")
)

// ChildState is where a child is in its life.
type ChildState string

// The states of a child. A process of an exec pool is busy as long as it lives.
const (
	ChildStarting ChildState = "starting" // started, has not said that it is ready
	ChildReady    ChildState = "ready"    // takes jobs
	ChildBusy     ChildState = "busy"     // takes jobs and has some
	ChildStopping ChildState = "stopping" // takes no more jobs, or is being killed
	ChildWaiting  ChildState = "waiting"  // no process: waits for its restart
	ChildStuck    ChildState = "stuck"    // killed, but its group cannot be shown to be empty
)

// ChildInfo is one child of a pool.
type ChildInfo struct {
	// PID is the leader's, 0 while there is no process.
	PID   int
	Pool  string
	State ChildState
	// RSSBytes is the resident memory of the leader alone; 0 when it cannot be read.
	RSSBytes int64
	// TreeBytes is the memory of all that it started, too, as the memory guard saw it last; 0 without one.
	TreeBytes int64
	// Jobs is how many jobs it has now.
	Jobs int
}
