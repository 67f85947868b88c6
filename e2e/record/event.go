// Package record is the witness outside the system under test: jobs write down when they start and finish, and a
// checker says afterwards whether any two runs of one entity met, whether the order was kept, and whether anything
// was lost or done again without a reason. It knows nothing of NATS or of the daemon.
//
// A record is a file of lines, each one JSON object, each one written by a single append. So many processes may
// write one file at once, and a process that is killed in the middle of a write spoils its own line at most: every
// line is written with a line break before it as well as after it.
//
// Invariants that the checker relies on: a job writes its start before it does anything and, if it takes a lock
// for its entity, after it has the lock; it writes its finish after everything that it does and before it lets go of
// the lock; all times are of one machine's boot clock, which goes on while the machine sleeps.
package record

// What an event says.
const (
	// Start begins a run.
	Start = "start"
	// Finish ends a run that did its work.
	Finish = "finish"
	// Failed ends a run that did not do its work and said so: it may be run again.
	Failed = "failed"
	// Refused ends a run that found the entity in a state in which this job cannot be next.
	Refused = "refused"
	// LockBusy is no run: somebody else was at work on the entity.
	LockBusy = "lockbusy"
)

// Run names one run of one job.
type Run struct {
	// Entity is the raw form, "type.id".
	Entity string `json:"entity"`
	// Op is the job's number in the list of expected jobs.
	Op int `json:"op"`
	// Seq is the job's sequence in its stream, Fence the fencing token of this run, Attempt its count from 1.
	Seq     uint64 `json:"seq"`
	Fence   uint64 `json:"fence"`
	Attempt int    `json:"attempt"`
	// Locked says that the run holds an exclusive lock of its entity, which only its end or its death gives back.
	Locked bool `json:"locked,omitempty"`
}

// Event is one line of a record.
type Event struct {
	// T is the time in nanoseconds of the clock that Now reads.
	T    int64  `json:"t"`
	What string `json:"event"`
	Run
	PID    int    `json:"pid"`
	Worker string `json:"worker,omitempty"`
}
