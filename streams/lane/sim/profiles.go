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
		Span: 8 * time.Minute, Bound: 6 * time.Minute,
		Every: 400 * time.Millisecond, Burst: .1, Snipe: .1,
		Short: 300 * time.Millisecond, Long: .02, LongMax: 150 * time.Second,
		Fail: .05, Fatal: .01, Crash: .03, Interrupt: .02, Stuck: .02,
		Poison: .002, Invalid: .01, Unserved: .05,
		CopyLost: .01, CopyLate: .05, CopyLateMax: 30 * time.Second,
		Loss: .005, Slow: .02, SlowMax: 4 * time.Second,
		CutEvery: 90 * time.Second, CutMax: 40 * time.Second, Late: .3, LateMax: 40 * time.Second,
		WatchSlow: .1, WatchSlowMax: 5 * time.Second,
		PauseEvery: 60 * time.Second, PauseMax: 45 * time.Second,
		KillEvery: 120 * time.Second, StopEvery: 120 * time.Second, Guardian: true,
		RestartEvery: 100 * time.Second, DownMax: 5 * time.Second, ForgetAll: .3,
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
	p.StepDownEvery = 60 * time.Second
	return p
}
