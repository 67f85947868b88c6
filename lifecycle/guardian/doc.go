// Package guardian is the top process of a workerd and what ties it to its engine, the process below it that does all
// the work.
//
//	guardian            may be process 1: adopts and reaps orphans, forwards signals, watches the engine
//	└─ engine           the same program again, in its own session, under the name seriatim-engine
//	   └─ children      pools and jobs, a process group each (package lifecycle)
//
// The guardian knows until when the engine may believe in its session, and each running group in its claim. The engine
// moves these deadlines on (Link.Watch). Past a group's the guardian kills that group; past the session's it kills the
// engine, stopped or deadlocked as it may be, and everything below it, and starts a new engine.
//
// # Invariants
//
//   - In the guardian's process one goroutine waits for children, and never blocking; nothing else there starts or waits
//     for processes.
//   - When the engine has ended, for whatever reason, all of the guardian's children are killed before anything else
//     happens: they are what the engine's children left. Processes that were children of the guardian before it began (a
//     shell's background job before its exec) are spared.
//   - What an engine held is handed to its successor only when the process table shows that nothing of it is left.
//   - The guardian acts after a deadline, not at it: first the engine itself does, which knows what it kills and why.
//   - The two processes hold a pipe each to the other. Its end of file is the other one's death.
//
// # On failure
//
// An engine that dies is followed by another one, with backoff; after five deaths within a minute the guardian exits
// with the last status. An engine that ends in order (Link.Leave) with 0 or a usage error ends the guardian likewise, and
// so does the first engine of all with any status, because what it could not do at the start the next one cannot either.
// A guardian that is killed takes its engine with it: see Link.Lost. Guardian and engine killed in one instant leave
// processes behind, on a bare host, until the next guardian sweeps what carries the mark of an instance that is gone.
package guardian

import "time"

// EngineName is the name under which the engine is listed. It shares no word with the guardian's, so that killing by name
// does not hit both.
const EngineName = "seriatim-engine"

// The variables by which a guardian and its engine find each other. The engine takes them out of its own environment.
const (
	// PIDVariable holds the guardian's pid: the one to signal, and the one shown everywhere.
	PIDVariable = "SERIATIM_PID"
	// InstanceVariable holds the guardian's instance.
	InstanceVariable = "SERIATIM_INSTANCE"
)

// Slack is how long after a deadline the guardian acts. The engine kills within 50 ms of a deadline; a session's end of
// belief comes at least 2 s before anybody else may act on its silence.
const Slack = 750 * time.Millisecond

// Reason says why an engine has ended.
type Reason string

// Why an engine may have ended.
const (
	// Crashed: by itself, or by a signal that the guardian did not send.
	Crashed Reason = "crashed"
	// Fenced: the guardian killed it, because its session was over.
	Fenced Reason = "fenced"
)

// Held is what an engine has in hand, for its successor.
type Held struct {
	Session string     `json:"session"`
	Lanes   []HeldLane `json:"lanes,omitempty"`
	// Former are sessions of engines before this one that may still look alive, because one died before it had said their
	// farewell.
	Former []string `json:"former,omitempty"`
}

// HeldLane is a lane of which a job runs.
type HeldLane struct {
	Lane string `json:"lane"`
	// Job and Turn are sequences in their streams; Reply is where the turn is answered.
	Job   uint64 `json:"job"`
	Fence uint64 `json:"fence"`
	Turn  uint64 `json:"turn"`
	Reply string `json:"reply"`
}

// MaxHeldLanes is how many lanes are noted. What is beyond that waits for the lease when the engine crashes.
const MaxHeldLanes = 4096

// Deadlines say until when what runs may run, on the clock of internal/clock.
type Deadlines struct {
	// Session is the end of belief in the session; 0 is no session: then nothing may run.
	Session time.Duration
	Groups  []Group
}

// Group is a process group that runs a job.
type Group struct {
	// PID is its leader's.
	PID int
	// Until is its deadline; 0 is none but the session's.
	Until time.Duration
}

// EventKind says what the guardian tells.
type EventKind string

// What a guardian tells.
const (
	EventStarted    EventKind = "engine started"
	EventEnded      EventKind = "engine ended"          // Err says how
	EventFenced     EventKind = "engine fenced"         // its session was over for Late: it is killed
	EventGroup      EventKind = "group fenced"          // a group's claim was over for Late: it is killed
	EventKilled     EventKind = "processes killed"      // N that the engine left
	EventLeft       EventKind = "processes left"        // N that cannot be killed; nothing is handed on
	EventRestarting EventKind = "engine restarting"     // in Wait
	EventGivenUp    EventKind = "given up"              // too many deaths
	EventSwept      EventKind = "leftovers swept"       // N of instances that are gone
	EventShell      EventKind = "signals are swallowed" // Err says by whom, its hint what to change
	EventUnguarded  EventKind = "unguarded"             // Err says what this system cannot do
	EventStopping   EventKind = "stopped before the engine listened"
)

// Event is something that happened to the guardian's processes.
type Event struct {
	Kind EventKind
	PID  int
	N    int
	Err  error
	Wait time.Duration
	Late time.Duration
}

// Options are what a guardian needs.
type Options struct {
	// Args are the engine's arguments, without the program's name.
	Args []string
	// OnEvent is told what happens, on the guardian's goroutine; it must return soon. nil is nobody.
	OnEvent func(Event)
	// UsageStatus is the exit status of an engine that was started wrongly.
	UsageStatus int
}

func (o *Options) event(e Event) {
	if o.OnEvent != nil {
		o.OnEvent(e)
	}
}
