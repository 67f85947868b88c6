// Package drain is the life of a workerd as a table: what each signal, and each thing that comes about, means in each
// state. It is pure: Next says what follows, and whoever calls it does that.
//
//	starting ──▶ running ◀──▶ quiet
//	    │           │           │
//	    └───────────┴──▶ stopping ──▶ stopped
//
// Some of the states that people see have several modes inside. A workerd that was told to be quiet before it was up
// is starting, and will be quiet. One that stops first lets its jobs finish, then ends them with TERM and KILL; asked a
// second time it kills at once; and past the last bound it leaves what is left to the lease.
//
// # Invariants
//
// Every pair of mode and event stands in the table, also those that can only come about late (the end of a timer that
// was not needed, say). No event leads back from stopping. Stopped is the end: nothing leads out of it.
//
// There is no failure in here. What goes wrong outside comes in as an event.
package drain

import "fmt"

// Mode is where a workerd is in its life, in detail; State is what people are shown.
type Mode uint8

// The modes.
const (
	// Starting: the server, the queues and the pools are being brought up.
	Starting Mode = iota
	// StartingQuiet is Starting, and quiet is what follows.
	StartingQuiet
	// Aborting: asked to stop before it was up; the start is being undone.
	Aborting
	// Running: jobs are taken.
	Running
	// Quiet: no job is taken; those that run go on.
	Quiet
	// Stopping: no job is taken, those that run may finish.
	Stopping
	// Ending: the time to finish is over, the process groups have their TERM and get their KILL.
	Ending
	// Killing: asked a second time, the process groups have their KILL.
	Killing
	// Abandoning: what could not be handed back in time is left to the lease.
	Abandoning
	// Stopped: it is over.
	Stopped
)

// Modes lists all of them.
func Modes() []Mode {
	return []Mode{Starting, StartingQuiet, Aborting, Running, Quiet, Stopping, Ending, Killing, Abandoning, Stopped}
}

var modeNames = [...]string{
	"starting", "starting quiet", "aborting", "running", "quiet", "stopping", "ending", "killing", "abandoning", "stopped",
}

// String is the mode's name, for tests and logs.
func (m Mode) String() string { return modeNames[m] }

// State is what people are shown: starting, running, quiet, stopping or stopped.
func (m Mode) State() string {
	switch m {
	case StartingQuiet:
		return modeNames[Starting]
	case Aborting, Ending, Killing, Abandoning:
		return modeNames[Stopping]
	default:
		return modeNames[m]
	}
}

// Event is something that a workerd is told, or that comes about.
type Event uint8

// The events.
const (
	// Started: the start is over, jobs can be taken.
	Started Event = iota
	// Failed: the start failed, and nothing of it is left.
	Failed
	// Terminate is TERM or INT.
	Terminate
	// Suspend is TSTP.
	Suspend
	// Continue is CONT.
	Continue
	// Dump is TTIN.
	Dump
	// Reload is HUP.
	Reload
	// Idle: while quiet, the last job has ended.
	Idle
	// Timeout: the time that the last action gave is over.
	Timeout
	// Drained: nothing runs, and all is handed back that could be.
	Drained
)

// Events lists all of them.
func Events() []Event {
	return []Event{Started, Failed, Terminate, Suspend, Continue, Dump, Reload, Idle, Timeout, Drained}
}

var eventNames = [...]string{
	"started", "failed", "TERM", "TSTP", "CONT", "TTIN", "HUP", "idle", "timeout", "drained",
}

// String is the event's name: that of the signal, where it is one.
func (e Event) String() string { return eventNames[e] }

// Action is what is to be done.
type Action uint8

// The actions.
const (
	// Nothing is to be done.
	Nothing Action = iota
	// Abort the start.
	Abort
	// Announce that it is up, and take jobs.
	Announce
	// AnnounceQuiet: announce that it is up, and take no jobs.
	AnnounceQuiet
	// Hold: take no more jobs.
	Hold
	// Take jobs again.
	Take
	// TellIdle: tell those who wait that nothing runs any more.
	TellIdle
	// ShowJobs: show what runs.
	ShowJobs
	// Reread the configuration, and replace the pools that changed.
	Reread
	// RereadLater: Reread when it is up.
	RereadLater
	// HandBack: take no more jobs, let those that run finish until a timeout, then hand everything back.
	HandBack
	// EndJobs ends what runs: TERM to the groups, later KILL; the bound for handing back begins.
	EndJobs
	// KillJobs ends what runs at once; the bound for handing back begins.
	KillJobs
	// GiveUp leaves what is left to the lease.
	GiveUp
	// Leave: the process may end.
	Leave
)

var actionNames = [...]string{
	"nothing", "abort", "announce", "announce quiet", "hold", "take", "tell idle", "show jobs", "reread", "reread later", "hand back",
	"end jobs", "kill jobs", "give up", "leave",
}

// String is the action's name.
func (a Action) String() string { return actionNames[a] }

// Next is the mode that follows and what is to be done. It panics for values that are no mode or no event.
func Next(m Mode, e Event) (Mode, Action) {
	c, ok := table[m][e]
	if !ok {
		panic(fmt.Sprintf("drain: no cell for mode %d and event %d", m, e))
	}
	return c.next, c.action
}
