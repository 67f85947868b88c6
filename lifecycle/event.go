package lifecycle

import (
	"errors"
	"fmt"
	"time"
)

// LogLine is one line that a process printed.
type LogLine struct {
	Pool string
	PID  int
	// Queue, Entity, Kind, ID, Seq and Attempt name the job of an exec pool's process. A line of a child with frames
	// belongs to the child: they are empty.
	Queue, Entity, Kind, ID string
	Seq                     uint64
	Attempt                 int
	// Stream is "stdout" or "stderr".
	Stream string
	// Text has no line end and is valid UTF-8. A line of more than MaxLine bytes comes in pieces.
	Text string
}

// MaxLine is the longest piece of a process's output that is handed on as one line, in bytes.
const MaxLine = 8 << 10

// EventKind says what happened to a child of a ModePool, or to the pool's guard.
type EventKind string

// What happens to children.
const (
	EventStarted     EventKind = "started"      // a process runs, it has not said that it is ready
	EventStartFailed EventKind = "start failed" // no process: Err says why
	EventReady       EventKind = "ready"        // it takes jobs
	EventIgnored     EventKind = "ignored"      // it said something that makes no sense, and lives on: Err says what
	EventExited      EventKind = "exited"       // its group is gone; Err says why, nil after a stop and exit code 0
	EventStuck       EventKind = "stuck"        // it was killed, but its group cannot be shown to be empty
	EventRestarting  EventKind = "restarting"   // the next one is started in Wait
	EventReplacing   EventKind = "replacing"    // the next one is started, and this one ended when that is ready; Err says why

	// Of processes of a ModeExec, too, as is EventStartFailed.
	EventOverMemory  EventKind = "over memory"   // it uses too much and is being ended: Err is a *MemoryError
	EventLimitTooLow EventKind = "limit too low" // it would be ended, but another one was a short while ago: the same
	EventUnguarded   EventKind = "not guarded"   // memory cannot be read: limits are not kept. Err says why
)

// Event is something that happened to a child of a pool.
type Event struct {
	Pool string
	// PID is the child's, 0 when there is no process.
	PID  int
	Kind EventKind
	// Err is the reason; errors.Is finds the values below, errors.As a *frames.Error or an *ExitError.
	Err error
	// Wait is the backoff before a restart.
	Wait time.Duration
}

// Why a child was taken out of service.
var (
	// ErrNeverReady is a child that did not say `ready` within Config.ReadyTimeout.
	ErrNeverReady = errors.New("it did not say that it is ready")
	// ErrNewerProtocol is a child that speaks a newer protocol than this workerd.
	ErrNewerProtocol = errors.New("it speaks a newer protocol")
	// ErrHungUp is a child that lives but closed one of its frame descriptors.
	ErrHungUp = errors.New("it closed a frame descriptor and lived on")
	// ErrOverran is a child that was killed because a job in it ran past its timeout.
	ErrOverran = errors.New("a job in it ran past its timeout")
	// ErrUnknownRun is an answer to a run that the child does not have.
	ErrUnknownRun = errors.New("it answered a run that it does not have")
)

// ExitError is a process that ended otherwise than with exit code 0.
type ExitError struct {
	// Code is the exit code, -1 after a signal.
	Code int
	// Signal is the signal's number, 0 after an exit; Name is its name, such as SIGKILL.
	Signal int
	Name   string
	// LastLine is the last line of its standard error, or "".
	LastLine string
}

// Error says how it ended, with its last words.
func (e *ExitError) Error() string {
	text := fmt.Sprintf("exited with status %d", e.Code)
	switch {
	case e.Signal != 0:
		text = fmt.Sprintf("was killed by signal %d (%s)", e.Signal, e.Name)
	case e.Code < 0:
		text = "ended, and its exit status was lost"
	}
	return withLast(text, e.LastLine)
}

// withLast appends a process's last words to a reason.
func withLast(text, last string) string {
	if last == "" {
		return text
	}
	return text + ": " + last
}
