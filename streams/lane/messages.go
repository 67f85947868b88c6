package lane

import "time"

// Op is the number of one request of one lane; its answer carries it back. Answers with a number that is no longer
// waited for are late and mean nothing.
type Op uint64

// Turn is a delivery of a lane's turn.
type Turn struct {
	// Seq is its sequence in TURNS; 0 is no turn (a visit).
	Seq uint64
	// Delivered is the delivery count. Above 1 does not mean that anybody had it.
	Delivered int
	// Guess is the job whose copy the turn is: a good guess at the head, never more.
	Guess uint64
	// Relayed says that a holder published the turn: the lane was worked on a moment ago, so it has a record.
	Relayed bool
	// Alone says that the lane was empty when that job was stored.
	Alone bool
	// Kind is that job's kind, if it is known.
	Kind string
	// Token is the driver's own: how to answer this delivery.
	Token any
}

// Event is something that happened to a lane.
type Event interface{ event() }

// The events of a lane.
type (
	// Delivered: a turn of this lane came.
	Delivered struct{ Turn Turn }
	// Visit: look whether the lane lacks a turn. Publish says that a turn is to be published without looking first. Guess
	// is a job of the lane, if one is known.
	Visit struct {
		Publish bool
		Guess   uint64
	}
	// HeadRead answers ReadHead.
	HeadRead struct {
		Op   Op
		Head Head
	}
	// RecordRead answers ReadRecord; Found is false when the lane has no claim. Paused says that an operator paused it.
	RecordRead struct {
		Op     Op
		Found  bool
		Record Record
		Paused bool
	}
	// Stored answers WriteClaim: the record stands with this sequence.
	Stored struct {
		Op  Op
		Seq uint64
	}
	// Refused answers WriteClaim: another record stands.
	Refused struct{ Op Op }
	// Finished: the job that was started under Fence is over and its group is gone (or not: see Outcome.Stuck).
	Finished struct {
		Fence   uint64
		Outcome Outcome
	}
	// Deleted answers DeleteJob: the job is not in the stream any more.
	Deleted struct{ Op Op }
	// Moved answers MoveDead and MoveLater: the job is stored there.
	Moved struct{ Op Op }
	// Ended answers EndTurn.
	Ended struct{ Op Op }
	// Returned answers NakTurn.
	Returned struct{ Op Op }
	// Published answers PublishTurn: stored, or refused because the lane has a turn.
	Published struct{ Op Op }
	// Failed answers any request that met an error: it is tried again.
	Failed struct{ Op Op }
	// Tick: time has passed.
	Tick struct{}
	// SessionOver: the holder's session is over. Kill, write nothing.
	SessionOver struct{}
	// SessionNew: a new session stands, after SessionOver.
	SessionNew struct{}
	// Cancel: an operator cancelled these jobs of the lane. The one that runs is ended; one that comes up later in the same
	// hands is removed instead of started.
	Cancel struct{ Jobs []uint64 }
	// Stop: hand the lane back. A job that runs is ended first.
	Stop struct{}
)

// Action is what the driver has to do. Requests carry an Op that their answer brings back.
type Action interface{ action() }

// The actions of a lane.
type (
	// ReadHead: the first message of the lane. Leader says that only the leader's answer will do. First says that several
	// jobs are likely; else the lane's last message may answer for it: none is none, and job Alone, when it is the last,
	// is the only one.
	ReadHead struct {
		Op     Op
		Leader bool
		First  bool
		Alone  uint64
		// Guess is the job that the turn came with, for a lane that no request can name.
		Guess uint64
	}
	// ReadRecord: the lane's claim, from the leader.
	ReadRecord struct{ Op Op }
	// WriteClaim: a compare-and-set against Expect (0: no record); its message id is made from session, lane and Op, so
	// that the same write sent again is known as the same. TTL 0 is none. Any says to write whatever stands there: only
	// a broken build asks for that.
	WriteClaim struct {
		Op     Op
		Record Record
		Expect uint64
		TTL    time.Duration
		Any    bool
	}
	// Start the job under this fence.
	Start struct {
		Head    Head
		Fence   uint64
		Attempt int
		Counts  Counts
	}
	// Kill what runs for this lane under Fence. Now says at once; else TERM and, after a while, KILL. Cancel says that the
	// job alone is meant, not the worker: its child is asked first. Finished answers it.
	Kill struct {
		Fence  uint64
		Now    bool
		Cancel bool
	}
	// DeleteJob from JOBS by sequence.
	DeleteJob struct {
		Op  Op
		Seq uint64
	}
	// MoveDead: publish the job's dead letter. ID is the move's id, empty only in a broken build.
	MoveDead struct {
		Op     Op
		Head   Head
		Record Record
		Move   bool
	}
	// MoveLater: store the job in the schedule, to come back to its lane at the record's NotBefore, with its counts.
	MoveLater struct {
		Op     Op
		Head   Head
		Record Record
	}
	// Report: something final is known of a job, and stored.
	Report struct {
		Head    Head
		Record  Record
		Outcome Outcome
		End     End
	}
	// EndTurn: ack (or delete, when replicated) the turn; Answer says that the answer is waited for.
	EndTurn struct {
		Op   Op
		Turn Turn
	}
	// NakTurn: give the turn back for redelivery after Delay.
	NakTurn struct {
		Op    Op
		Turn  Turn
		Delay time.Duration
	}
	// PublishTurn: a new turn for the lane, with a guess at its head.
	PublishTurn struct {
		Op    Op
		Guess uint64
	}
	// FreeSlot: the job's processes are gone and no other job of this lane follows at once.
	FreeSlot struct{}
	// Drop: the machine is done with the lane and forgets it.
	Drop struct{}
)

func (Delivered) event()   {}
func (Visit) event()       {}
func (HeadRead) event()    {}
func (RecordRead) event()  {}
func (Stored) event()      {}
func (Refused) event()     {}
func (Finished) event()    {}
func (Deleted) event()     {}
func (Moved) event()       {}
func (Ended) event()       {}
func (Returned) event()    {}
func (Published) event()   {}
func (Failed) event()      {}
func (Tick) event()        {}
func (SessionOver) event() {}
func (SessionNew) event()  {}
func (Cancel) event()      {}
func (Stop) event()        {}

func (ReadHead) action()    {}
func (ReadRecord) action()  {}
func (WriteClaim) action()  {}
func (Start) action()       {}
func (Kill) action()        {}
func (DeleteJob) action()   {}
func (MoveDead) action()    {}
func (MoveLater) action()   {}
func (Report) action()      {}
func (EndTurn) action()     {}
func (NakTurn) action()     {}
func (PublishTurn) action() {}
func (FreeSlot) action()    {}
func (Drop) action()        {}

// Cause is why a run ended.
type Cause uint8

// The causes, with the consequence of each in settle.go.
const (
	// CauseDone: it succeeded.
	CauseDone Cause = iota
	// CauseFailed: the job says so, exited non-zero, or timed out.
	CauseFailed
	// CauseFatal: the job says that trying again is of no use.
	CauseFatal
	// CauseCrashed: its process died by a signal that nobody here sent.
	CauseCrashed
	// CauseInterrupted: this holder ended it (stop, quiet, fencing), or it never started.
	CauseInterrupted
	// CauseMemory: the memory guard ended it.
	CauseMemory
	// CauseCancelled: an operator cancelled it.
	CauseCancelled
)

var causeNames = [...]string{"done", "failed", "fatal", "crashed", "interrupted", "memory", "cancelled"}

// String is the cause's name in records and dead letters.
func (c Cause) String() string { return causeNames[c] }

// Outcome is how a run ended.
type Outcome struct {
	Cause Cause
	// Error is one line for people.
	Error string
	// RetryIn is the job's own wish for its next attempt; 0 leaves it to the queue's backoff.
	RetryIn time.Duration
	// Stuck says that the job's group could not be shown to be empty. Then nothing may be given back.
	Stuck bool
	// NotStarted says that no process was started for the job.
	NotStarted bool
	// Result is what the job gave back, Log the end of what it printed. Both are for others: nothing is decided by them.
	Result []byte
	Log    string
	// StartedAt is the wall clock's, Took how long the run lasted.
	StartedAt time.Time
	Took      time.Duration
}

// End is what became of a job, for a Report.
type End uint8

// The ends.
const (
	// EndDone: it succeeded, and is deleted.
	EndDone End = iota
	// EndDead: it was moved to the dead letters.
	EndDead
	// EndHalted: it is dead, and its lane stands.
	EndHalted
	// EndCancelled: an operator cancelled it, and it is deleted.
	EndCancelled
	// EndRetry: the attempt failed; the job is due again at the record's NotBefore.
	EndRetry
)

var endNames = [...]string{"done", "dead", "halted", "cancelled", "retry"}

// String is the name of the end in records and answers.
func (e End) String() string { return endNames[e] }
