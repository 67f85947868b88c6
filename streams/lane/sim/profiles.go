package sim

import (
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// Rough is everything at once on one server.
func Rough() Profile {
	return Profile{
		Name: "rough", Config: lane.DefaultConfig(15 * time.Second),
		Lanes: 8, Holders: 4, Slots: 3,
		Span: 8 * time.Minute, Bound: 5 * time.Minute,
		Every: 400 * time.Millisecond, Burst: .1, Snipe: .1,
		Short: 300 * time.Millisecond, Long: .02, LongMax: 150 * time.Second,
		Fail: .05, Fatal: .01, Crash: .03, Interrupt: .02, Stuck: .02,
		Poison: .002, Invalid: .01, Unserved: .05,
		CopyLost: .01, CopyLate: .05, CopyLateMax: 30 * time.Second,
		Loss: .005, Slow: .02, SlowMax: 4 * time.Second,
		CutEvery: 90 * time.Second, CutMax: 40 * time.Second, Late: .3, LateMax: 40 * time.Second, Jam: .2, JamMax: 10 * time.Second,
		WatchSlow: .1, WatchSlowMax: 5 * time.Second,
		PauseEvery: 60 * time.Second, PauseMax: 45 * time.Second,
		KillEvery: 120 * time.Second, StopEvery: 120 * time.Second, Guardian: true,
		DieEvery: 120 * time.Second, Heir: .8,
		RestartEvery: 100 * time.Second, DownMax: 5 * time.Second, ForgetAll: .3,
		BlackoutEvery: 3 * time.Minute, BlackoutMax: 100 * time.Second,
		ClaimsDownEvery: 4 * time.Minute, ClaimsDownMax: 90 * time.Second,
		PurgeEvery: 20 * time.Second,
		AuditAfter: 5 * time.Second, SweepEvery: 2 * time.Minute,
	}
}

// Replicated is Rough on three servers: readers that do not ask the leader see the past, and leaders change.
func Replicated() Profile {
	p := Rough()
	p.Name = "replicated"
	p.Config.Replicated = true
	p.Lag, p.LeaderLag = 3*time.Second, 900*time.Millisecond
	p.StepDownEvery = 30 * time.Second
	return p
}

// ShortLease is Rough with the shortest sessions that make sense: more of everything that sessions bring.
func ShortLease() Profile {
	p := Rough()
	p.Name = "short-lease"
	p.Config = lane.DefaultConfig(5 * time.Second)
	p.CutMax, p.PauseMax, p.SlowMax = 15*time.Second, 15*time.Second, 2*time.Second
	p.KillEvery, p.StopEvery, p.PauseEvery = time.Minute, time.Minute, 30*time.Second
	return p
}

// base is a busy queue where nothing goes wrong: no lane may stand still for longer than it takes to look.
func base(name string) Profile {
	return Profile{
		Name: name, Config: lane.DefaultConfig(15 * time.Second),
		Lanes: 6, Holders: 4, Slots: 6,
		Span: 4 * time.Minute, Bound: 90 * time.Second,
		Every: 300 * time.Millisecond, Burst: .1,
		Short: 200 * time.Millisecond, Guardian: true, LateMax: 40 * time.Second,
		AuditAfter: 5 * time.Second, SweepEvery: 2 * time.Minute,
	}
}

// doubled makes lanes have turns in several hands: turns are purged and published anew.
func (p Profile) doubled() Profile {
	p.PurgeEvery, p.SweepEvery = time.Second, 8*time.Second
	return p
}

// Sniped has jobs come in at the very moment at which a turn ends. Nobody but the holder itself may have to find them.
func Sniped() Profile {
	p := base("sniped")
	p.Snipe, p.WaitBound = .3, 4*time.Second
	return p
}

// Copyless loses copies, and nothing else: the audit must find the jobs before any sweep does.
func Copyless() Profile {
	p := base("copyless")
	p.CopyLost, p.WaitBound = .1, 9*time.Second
	return p
}

// Purged loses turns when everybody has looked already: only the sweep can help.
func Purged() Profile {
	p := base("purged")
	p.Lanes, p.Slots, p.Every, p.Fail, p.Config.MaxAttempts = 40, 20, time.Second, .5, 0
	p.PurgeEvery, p.SweepEvery, p.WaitBound = 100*time.Millisecond, 20*time.Second, 60*time.Second
	return p
}

// LateDeletes keeps messages of those who are cut off until somebody else has their lanes.
func LateDeletes() Profile {
	p := base("late-deletes").doubled()
	p.Lanes, p.Slots, p.Every = 8, 8, time.Second
	p.Long, p.LongMax = .4, 40*time.Second
	p.CutEvery, p.CutMax, p.Late = 40*time.Second, 40*time.Second, .9
	p.StopEvery, p.Fail = 45*time.Second, .2 // the mark must outlive handing back and retries
	return p
}

// SlowAnswers has answers that come late, before the holder is cut off.
func SlowAnswers() Profile {
	p := base("slow-answers").doubled()
	p.Long, p.LongMax, p.Every = .4, 60*time.Second, time.Second
	p.Slow, p.SlowMax = .1, 4*time.Second
	p.CutEvery, p.CutMax, p.Jam, p.JamMax = 60*time.Second, 60*time.Second, .8, 12*time.Second
	return p
}

// SlowWatch shows the sessions of others late.
func SlowWatch() Profile {
	p := base("slow-watch").doubled()
	p.Long, p.LongMax, p.Every = .3, 40*time.Second, time.Second
	p.WatchSlow, p.WatchSlowMax = .5, 40*time.Second
	p.PauseEvery, p.PauseMax = 60*time.Second, 30*time.Second
	return p
}

// Goodbyes has workers come and go while some reads are slow: what a read shows may have been finished, and its holder
// may have said goodbye, before the answer comes.
func Goodbyes() Profile {
	p := base("goodbyes")
	p.Lanes, p.StopEvery = 3, 8*time.Second
	p.PurgeEvery, p.SweepEvery = 300*time.Millisecond, 2*time.Second
	p.Slow, p.SlowMax = .05, 8*time.Second
	return p
}

// Pauses stops engines while their jobs run on.
func Pauses() Profile {
	p := base("pauses").doubled()
	p.Every, p.Long, p.LongMax = time.Second, .4, 60*time.Second
	p.PauseEvery, p.PauseMax = 40*time.Second, 45*time.Second
	return p
}

// ClaimsAway leaves claims without an answer until they expire.
func ClaimsAway() Profile {
	p := base("claims-away").doubled()
	p.Span = 8 * time.Minute
	p.Every = time.Second
	p.ClaimsDownEvery, p.ClaimsDownMax = 2*time.Minute, 100*time.Second
	p.Slow, p.SlowMax, p.Long, p.LongMax = .2, 20*time.Second, .2, 40*time.Second
	p.Bound = 45 * time.Second // less than a claim's life
	return p
}

// Blackouts kill all workers for longer than anything is kept of them.
func Blackouts() Profile {
	p := base("blackouts")
	p.Span, p.Lanes, p.Every, p.Bound = 20*time.Minute, 12, 3*time.Second, 3*time.Minute
	p.Fail, p.Long, p.LongMax, p.Unserved = .3, .2, 30*time.Second, .2
	p.BlackoutEvery, p.BlackoutMax = 4*time.Minute, 5*time.Minute
	return p
}

// Heirs have engines die and leave what they held to a successor, with messages of the dead one on their way.
func Heirs() Profile {
	p := base("heirs").doubled()
	p.DieEvery, p.Heir = 20*time.Second, .9
	p.Long, p.LongMax, p.Every, p.Poison = .2, 40*time.Second, 500*time.Millisecond, .01
	p.Slow, p.SlowMax, p.CutEvery, p.CutMax, p.Late = .05, 20*time.Second, 60*time.Second, 10*time.Second, .9
	p.Bound = 4 * time.Minute
	return p
}

// Elections moves leaders all the time; who asks them sees the past for a moment.
func Elections() Profile {
	p := base("elections").doubled()
	p.Config.Replicated = true
	p.Lag, p.LeaderLag, p.StepDownEvery, p.ForgetAll = 3*time.Second, 900*time.Millisecond, 5*time.Second, .3
	return p
}

// LongJobs outlive their claims, and deliveries are forgotten.
func LongJobs() Profile {
	p := base("long-jobs").doubled()
	p.Every, p.Long, p.LongMax = 2*time.Second, .3, 6*time.Minute
	return p
}

// LongLease is the longest lease that a queue may have.
func LongLease() Profile {
	p := base("long-lease").doubled()
	p.Config = lane.DefaultConfig(10 * time.Minute)
	p.Every, p.Long, p.LongMax = time.Second, .2, 5*time.Minute
	p.StopEvery, p.DieEvery, p.Heir, p.Fail, p.Bound = time.Minute, 2*time.Minute, 1, .1, 15*time.Minute
	return p
}

// Poisons have jobs that take their holders down.
func Poisons() Profile {
	p := base("poisons")
	p.Span, p.Bound = 6*time.Minute, 4*time.Minute
	p.Poison, p.Every = .01, time.Second
	return p
}

// Losses lose messages and holders; jobs fail and die.
func Losses() Profile {
	p := base("losses").doubled()
	p.Loss, p.Fatal, p.Fail, p.Invalid = .03, .1, .1, .05
	p.KillEvery, p.CutEvery, p.CutMax = time.Minute, time.Minute, 30*time.Second
	return p
}

// Stops ends workers while they have work.
func Stops() Profile {
	p := base("stops")
	p.StopEvery, p.Short = 30*time.Second, 3*time.Second
	return p
}

// Operated has operators pause lanes, cancel jobs and release lanes that a dead job has halted, beside everything else.
func Operated() Profile {
	p := Rough()
	p.Name = "operated"
	p.Config.Halt = true
	p.Fail, p.Fatal, p.Poison = .15, .05, .004
	p.PauseLaneEvery, p.CancelEvery, p.ReleaseEvery = 5*time.Second, 3*time.Second, time.Second
	return p
}

// Passing lets failed jobs pass through the schedule to the end of their lane, beside everything else.
func Passing() Profile {
	p := Rough()
	p.Name = "passing"
	p.Config.Pass = true
	p.Fail, p.Fatal, p.Crash = .3, .02, .05
	p.PauseLaneEvery, p.CancelEvery = 20*time.Second, 10*time.Second
	return p
}

// OperatedReplicated is Operated on three servers.
func OperatedReplicated() Profile {
	p := Replicated()
	q := Operated()
	p.Name = "operated-replicated"
	p.Config.Halt = true
	p.Fail, p.Fatal, p.Poison = q.Fail, q.Fatal, q.Poison
	p.PauseLaneEvery, p.CancelEvery, p.ReleaseEvery = q.PauseLaneEvery, q.CancelEvery, q.ReleaseEvery
	return p
}

// PausedLanes has nothing go wrong but pauses that come and go: a lane that is resumed runs at once.
func PausedLanes() Profile {
	p := base("paused-lanes")
	p.PauseLaneEvery, p.CancelEvery, p.WaitBound = 700*time.Millisecond, time.Second, 4*time.Second
	return p
}

// Profiles are all of them: every one must pass with all rules on.
func Profiles() []Profile {
	return []Profile{
		Rough(), Replicated(), ShortLease(), Sniped(), Copyless(), Purged(), LateDeletes(), SlowAnswers(), SlowWatch(), Goodbyes(),
		Pauses(), ClaimsAway(), Blackouts(), Heirs(), Elections(), LongJobs(), LongLease(), Poisons(), Losses(), Stops(),
		Operated(), OperatedReplicated(), Passing(), PausedLanes(),
	}
}

// Breaking is the profile under which a history without the rule soon goes wrong.
func Breaking(r lane.Rule) Profile {
	switch r {
	case lane.RuleHeadRead, lane.RuleRecordFirst:
		return Goodbyes()
	case lane.RuleStaleHead, lane.RuleLeaderRead:
		return Elections()
	case lane.RuleStolenMark:
		return LateDeletes()
	case lane.RuleFirstSending:
		return SlowAnswers()
	case lane.RuleDeadFirst:
		return SlowWatch()
	case lane.RuleLongClaims:
		return LongJobs()
	case lane.RuleKillAtEnd:
		return LateDeletes()
	case lane.RuleEmptyGroup:
		return Stops()
	case lane.RuleEndConfirmed, lane.RuleLook:
		return Sniped()
	case lane.RuleAudit:
		return Copyless()
	case lane.RuleSweep:
		return Purged()
	case lane.RuleStealCount:
		return Poisons()
	}
	return Losses()
}
