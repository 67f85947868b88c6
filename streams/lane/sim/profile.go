package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// Profile is how rough a history is. Probabilities are in [0,1]; an Every is a mean distance in virtual time, 0 is
// never. The zero value of a rate switches that fault off.
type Profile struct {
	Name   string
	Config lane.Config

	Lanes, Holders, Slots int

	// Span is how long jobs are published and faults happen; after it everything heals.
	Span time.Duration
	// Bound is how long after Span every lane must be empty.
	Bound time.Duration
	// WaitBound, unless 0, is the most that a lane with work may stand still at any time. Only for profiles without
	// faults that stop a lane by right.
	WaitBound time.Duration

	// Every is the mean distance between jobs of the whole queue; Burst of them come as several on one lane.
	Every time.Duration
	Burst float64
	// Snipe is how often a job is published at the very moment at which the turn of its lane is being ended.
	Snipe float64

	// Short is the longest run of an ordinary job; Long of the jobs take up to LongMax.
	Short   time.Duration
	Long    float64
	LongMax time.Duration
	// The outcomes of runs.
	Fail, Fatal, Crash, Interrupt, Stuck float64
	// Kinds of jobs: those that take their holder down, cannot be used, or are not served everywhere.
	Poison, Invalid, Unserved float64

	// CopyLost and CopyLate: the copies that JOBS makes for TURNS.
	CopyLost, CopyLate float64
	CopyLateMax        time.Duration

	// Loss of each message; Slow ones take up to SlowMax.
	Loss, Slow float64
	SlowMax    time.Duration
	// CutEvery (a holder) cuts it off for up to CutMax; Late of the messages of that time arrive after it.
	CutEvery, CutMax time.Duration
	Late             float64
	LateMax          time.Duration
	// Jam of the cuts begin with up to JamMax in which only what is sent to the holder is held up.
	Jam    float64
	JamMax time.Duration
	// WatchSlow: the watch of session records is late by up to WatchSlowMax.
	WatchSlow    float64
	WatchSlowMax time.Duration

	// PauseEvery (a holder) stops its engine for up to PauseMax; its jobs run on. KillEvery kills it with all its
	// processes; StopEvery stops it as an operator would.
	PauseEvery, PauseMax, KillEvery, StopEvery time.Duration
	// DieEvery (a holder) has the engine alone die; Heir of such deaths leave a successor what the engine held.
	DieEvery time.Duration
	Heir     float64
	// BlackoutEvery kills all holders at once; each comes back within BlackoutMax.
	BlackoutEvery, BlackoutMax time.Duration
	// Guardian says that somebody kills the groups of a paused engine when its session or their claim is over.
	Guardian bool

	// RestartEvery kills the server for up to DownMax; StepDownEvery moves leaders. ForgetAll is how often it then
	// forgets all deliveries, and not only the latest.
	RestartEvery, DownMax, StepDownEvery time.Duration
	ForgetAll                            float64
	// Lag is how far readers other than the leader are behind; LeaderLag how far, and for how long, the leader itself is
	// after it changed.
	Lag, LeaderLag time.Duration
	// ClaimsDownEvery leaves CLAIMS alone without an answer for up to ClaimsDownMax.
	ClaimsDownEvery, ClaimsDownMax time.Duration
	// PurgeEvery removes a turn behind everybody's back.
	PurgeEvery time.Duration

	// PauseLaneEvery pauses a lane, or resumes one that is paused. CancelEvery cancels one of the first jobs of a lane.
	// ReleaseEvery has an operator release a halted lane; it goes on when the faults have stopped.
	PauseLaneEvery, CancelEvery, ReleaseEvery time.Duration

	// AuditAfter and SweepEvery are the product's: a look at each old job, and at every lane.
	AuditAfter, SweepEvery time.Duration
}

// replicated is a switch that reads better than a field of a field.
func (p *Profile) replicated() bool { return p.Config.Replicated }

// Break is the profile with rules switched off.
func (p Profile) Break(rules ...lane.Rule) Profile {
	p.Config.Broken |= lane.Break(rules...)
	return p
}
