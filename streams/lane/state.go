package lane

import "time"

// Phase is where a lane stands in its turn.
type Phase uint8

// The phases. The order is that of a turn that meets no trouble.
const (
	// Idle: nothing happened yet.
	Idle Phase = iota
	// Opening: the head is being read, a claim may be on its way.
	Opening
	// Examining: a claim was refused; record, then head, then decide.
	Examining
	// InRun: the job runs.
	InRun
	// Killing: its group is being killed.
	Killing
	// Moving: it is being stored elsewhere: as a dead letter, or in the schedule.
	Moving
	// Settling: its delete is being confirmed.
	Settling
	// Marking: the done record of a stolen claim is being written.
	Marking
	// Parking: a record that gives the lane back, or makes it wait, is being written.
	Parking
	// Returning: the turn is being given back.
	Returning
	// Ending: the turn is being ended.
	Ending
	// Looking: the lane is looked at again after the end.
	Looking
	// Relaying: a new turn is being published.
	Relaying
	// Orphaned: the session is over, the group empty; a new session has to give the claim back.
	Orphaned
	// Reclaiming: the new session reads the old claim and gives it back.
	Reclaiming
	// Stuck: a group that could not be shown to be empty. The lane stays claimed while the session lives.
	Stuck
	// Gone: the machine is done.
	Gone

	phaseCount
)

var phaseNames = [phaseCount]string{
	"idle", "opening", "examining", "running", "killing", "moving", "settling", "marking", "parking", "returning",
	"ending", "looking", "relaying", "orphaned", "reclaiming", "stuck", "gone",
}

// String names the phase.
func (p Phase) String() string { return phaseNames[p] }

// request is a question on its way.
type request struct {
	op    Op
	first time.Duration // first sending
	again time.Duration // when it is sent again without an answer
	tries int
}

func (r request) open() bool { return r.op != 0 }

// is says whether op is this request's, and its answer still waited for.
func (r request) is(op Op) bool { return r.op == op && op != 0 }

// after says what a parked lane does next.
type after uint8

const (
	afterNak  after = iota // give the turn back
	afterMove              // move the job to another stream
	afterEnd               // end the turn: the lane stands
)

// State is one lane in one holder's hands. It is a value: Next returns a changed copy.
type State struct {
	Phase Phase
	// Turn is the delivery that is to be answered last.
	Turn Turn

	lastOp Op
	read   request // head or record
	write  request // claim
	step   request // the phase's own request: delete, move, end, nak, publish

	// readsRecord tells which of the two reads is on its way.
	readsRecord bool

	head   Head
	headOK bool
	headAt time.Duration // first sending of the read that gave head

	record   Record // the last record read
	recordOK bool
	over     bool // its session was over when it was read, before the head was
	late     bool // the head is read late enough to be no read of the past

	// claim is the last record of ours that was seen stored; claimed says that nothing speaks against it.
	claim    Record
	claimed  bool
	claimAt  time.Duration // first sending of the write that gave claim
	claimTTL time.Duration

	// want is the record of the write on its way.
	want       Record
	wantTTL    time.Duration
	wantExpect uint64

	fence   uint64
	outcome Outcome
	ended   bool // the run under fence is over: outcome tells how

	parkAs     Record // what Parking has to write
	then       after
	delay      time.Duration
	cut        bool   // the session ended while the lane was held
	adopted    bool   // of an engine that died; its groups are empty
	diedOfIt   bool   // by itself, so that its jobs may be the reason
	orphanOf   string // the session whose claim is to be given back
	unsure     uint64 // a job whose delete was sent and not confirmed
	claimLoops int    // refusals met in this turn
	remains    bool   // a group could not be shown to be empty
	dropped    bool   // claim lost: after the kill, only give the turn back
	stop       bool   // stop was asked
	cancelled  bool   // the run is being ended because an operator cancelled its job
	cancels    []uint64
	permit     Permit        // from just before the start until nothing is alive
	permitBy   time.Duration // until then the lane stays in hand for one; 0 is not at all
	slot       bool          // occupies a slot
	jobs       int           // finished in this turn
	since      time.Duration
}

// Slot says whether the lane occupies a slot: from the delivery of its turn until its processes are gone.
func (s *State) Slot() bool { return s.slot }

// Job is the sequence of the job that the lane is about; 0 before a head was read.
func (s *State) Job() uint64 { return s.head.Seq }

// Fence is the fence of the present run.
func (s *State) Fence() uint64 { return s.fence }

// Busy says whether a process of the lane may be alive.
func (s *State) Busy() bool { return s.Phase == InRun || s.Phase == Killing || s.Phase == Stuck }

// ClaimUntil is when the claim runs out on the holder's clock, less the margin; 0 is never.
func (s *State) ClaimUntil(margin time.Duration) time.Duration {
	if s.claimTTL == 0 {
		return 0
	}
	return s.claimAt + s.claimTTL - margin
}
