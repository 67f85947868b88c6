package streams

import (
	"testing"
	"time"

	"github.com/seriatim/seriatim/streams/lane"
)

// Each reason why a lane does not move has its sentence, and the first reason in the way is told.
func TestWhyALaneDoesNotMove(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	created := now.Add(-time.Hour)
	worker := func(change ...func(*SessionRecord)) SessionRecord {
		w := SessionRecord{
			Session: "s1", Worker: "h1-a", Host: "h1", PID: 7, State: StateRunning, BeatAt: now.Add(-time.Second), LeaseMS: 15_000,
			Queues: []string{"ci"}, Slots: 5, Busy: 5, Telemetry: Telemetry{Pools: []PoolRecord{{Name: "rails", Kinds: []string{"archive"}}}},
		}
		for _, c := range change {
			c(&w)
		}
		return w
	}
	claim := func(s lane.Standing, change ...func(*ClaimInfo)) *ClaimInfo {
		c := &ClaimInfo{State: s, Job: 9, Session: "s1", Attempt: 1, Since: now.Add(-3 * time.Minute)}
		for _, change := range change {
			change(c)
		}
		return c
	}
	failed := func(c *ClaimInfo) {
		c.Attempts, c.Cause, c.Error, c.NotBefore = 2, "failed", "disk full", now.Add(90*time.Second)
	}
	pause := &PauseRecord{By: "ann@h1", At: now.Add(-time.Hour), Reason: "upgrade"}
	holds := func(f *facts, w SessionRecord) {
		f.Holder = f.holder(w)
		if f.Holder.State == StateRunning && f.At.Sub(w.BeatAt) > w.Lease() {
			f.Holder.State = StateLost
		}
	}
	for _, test := range []struct {
		name  string
		facts func(*facts)
		state LaneState
		why   string
	}{
		{
			"empty", func(f *facts) { f.Head = nil }, LaneEmpty, "nothing waits: the entity has no unfinished job",
		}, {
			"empty and paused", func(f *facts) { f.Head, f.Paused = nil, pause }, LaneEmpty,
			"nothing waits: the entity has no unfinished job; the lane is paused by ann@h1 since 2026-01-31 11:00:00Z (1h0m ago): upgrade",
		}, {
			"running", func(f *facts) {
				f.Claim = claim(lane.Running)
				holds(f, worker(func(w *SessionRecord) {
					w.Jobs = []JobRecord{{Queue: "ci", Seq: 9, At: &ProgressRecord{At: 40, Of: 100, Note: "uploading"}}}
				}))
			}, LaneRunning, "job 9 (archive) runs on worker h1-a since 2026-01-31 11:57:00Z (3m0s ago) (attempt 1, 40 of 100 uploading)",
		}, {
			"running, and paused", func(f *facts) {
				f.Claim, f.QueuePaused = claim(lane.Running), pause
				holds(f, worker())
			}, LaneRunning, "job 9 (archive) runs on worker h1-a since 2026-01-31 11:57:00Z (3m0s ago) (attempt 1); " +
				"the queue is paused by ann@h1 since 2026-01-31 11:00:00Z (1h0m ago): upgrade, so the next one will wait",
		}, {
			"silent", func(f *facts) {
				f.Claim = claim(lane.Running)
				holds(f, worker(func(w *SessionRecord) { w.BeatAt = now.Add(-12 * time.Second) }))
			}, LaneSilent, "job 9 (archive) runs on worker h1-a, which has been silent since 2026-01-31 11:59:48Z; its lease is over at 2026-01-31 12:00:03Z",
		}, {
			"lost", func(f *facts) {
				f.Claim = claim(lane.Running)
				holds(f, worker(func(w *SessionRecord) { w.State = StateLost }))
			}, LaneLost, "job 9 (archive) ran on worker h1-a, which is lost; another one takes over when its turn comes back, within the lease",
		}, {
			"lost, and nobody is there", func(f *facts) {
				f.Claim, f.serving = claim(lane.Running), nil
				holds(f, worker(func(w *SessionRecord) { w.State = StateLost }))
			}, LaneLost, "job 9 (archive) ran on worker h1-a, which is lost; no other worker serves queue ci",
		}, {
			"lost long ago", func(f *facts) { f.Claim = claim(lane.Running) }, LaneLost,
			"job 9 (archive) ran on a worker whose record is gone (session s1); the next worker that takes its turn takes it over",
		}, {
			"held", func(f *facts) {
				f.Claim, f.Paused = claim(lane.Held), pause
				holds(f, worker(func(w *SessionRecord) { w.State, w.Worker = StateOperator, "lane-hold-abc" }))
			}, LaneHeld, "held by an operator's command since 2026-01-31 11:57:00Z (3m0s ago): lane-hold-abc (pid 7 on h1)",
		}, {
			"held, and silent", func(f *facts) {
				f.Claim, f.Head = claim(lane.Held), nil
				holds(f, worker(func(w *SessionRecord) {
					w.State, w.Worker, w.BeatAt = StateOperator, "lane-hold-abc", now.Add(-12*time.Second)
				}))
			}, LaneSilent, "held by an operator's command since 2026-01-31 11:57:00Z (3m0s ago): lane-hold-abc (pid 7 on h1), which is silent; its lease is over at 2026-01-31 12:00:03Z",
		}, {
			"halted", func(f *facts) { f.Claim, f.Paused = claim(lane.Halted, failed), pause }, LaneHalted,
			"halted by job 9 (archive), which failed: disk full; to go on: coordinator lane release ci build.1 [--bury]",
		}, {
			"halted for good", func(f *facts) {
				f.Claim = claim(lane.Halted, func(c *ClaimInfo) { c.Cause, c.Error = "fatal", "no such file" })
			}, LaneHalted, "halted by job 9 (archive), which failed for good: no such file; to go on: coordinator lane release ci build.1 [--bury]",
		}, {
			"halted by a job that is gone", func(f *facts) {
				f.Claim = claim(lane.Halted, failed, func(c *ClaimInfo) { c.Job = 8 })
			}, LaneQueued, "job 9 (archive) waits for a free slot behind at most 3 lane(s): its turn is there, 4 lane(s) are runnable, 5 of 5 slots of 1 worker(s) are busy",
		}, {
			"paused", func(f *facts) { f.Paused, f.QueuePaused = pause, &PauseRecord{At: now} }, LanePaused,
			"paused by ann@h1 since 2026-01-31 11:00:00Z (1h0m ago): upgrade",
		}, {
			"paused for a while", func(f *facts) { f.Paused = &PauseRecord{At: now.Add(-time.Minute), Until: now.Add(time.Minute)} }, LanePaused,
			"paused since 2026-01-31 11:59:00Z (1m0s ago), until 2026-01-31 12:01:00Z",
		}, {
			"queue paused", func(f *facts) { f.QueuePaused, f.Claim = pause, claim(lane.Waiting, failed) }, LanePaused,
			"the whole queue is paused by ann@h1 since 2026-01-31 11:00:00Z (1h0m ago): upgrade",
		}, {
			"retrying", func(f *facts) { f.Claim = claim(lane.Waiting, failed) }, LaneRetrying,
			"retry of job 9 at 2026-01-31 12:01:30Z (in 1m30s) (attempt 2 of 5 failed: disk full)",
		}, {
			"retrying, and nobody is there", func(f *facts) { f.Claim, f.serving = claim(lane.Waiting, failed), nil }, LaneRetrying,
			"retry of job 9 at 2026-01-31 12:01:30Z (in 1m30s) (attempt 2 of 5 failed: disk full); no worker serves queue ci",
		}, {
			"retrying, with a limit of its own", func(f *facts) { f.Claim, f.attempts = claim(lane.Waiting, failed), 9 }, LaneRetrying,
			"retry of job 9 at 2026-01-31 12:01:30Z (in 1m30s) (attempt 2 of 9 failed: disk full)",
		}, {
			"retrying, without a limit", func(f *facts) { f.Claim, f.attempts = claim(lane.Waiting, failed), 0 }, LaneRetrying,
			"retry of job 9 at 2026-01-31 12:01:30Z (in 1m30s) (attempt 2 failed: disk full)",
		}, {
			"retrying, after crashes too", func(f *facts) {
				f.Claim = claim(lane.Waiting, failed, func(c *ClaimInfo) { c.Crashes = 2 })
			}, LaneRetrying, "retry of job 9 at 2026-01-31 12:01:30Z (in 1m30s) (attempt 2 of 5 failed: disk full)",
		}, {
			"retrying, in a later place", func(f *facts) {
				f.Claim = claim(lane.Waiting, failed)
				f.Claim.bring(&Carried{Counts: lane.Counts{Attempts: 2, Lost: 1}, Tries: make([]lane.Try, 3)})
				if f.Claim.Attempt != 4 || len(f.Claim.Tries) != 3 || f.Claim.Counts != (lane.Counts{Attempts: 4, Lost: 1}) {
					t.Errorf("%+v", f.Claim)
				}
			}, LaneRetrying, "retry of job 9 at 2026-01-31 12:01:30Z (in 1m30s) (attempt 4 of 5 failed: disk full)",
		}, {
			"empty, with a job that let others pass", func(f *facts) {
				f.Head, f.Claim = nil, claim(lane.Running, failed, func(c *ClaimInfo) { c.Passing = true })
			}, LaneEmpty, "nothing waits in the lane: job 9 failed: disk full, let others pass, and comes back at 2026-01-31 12:01:30Z (in 1m30s)",
		}, {
			"a retry that is due", func(f *facts) {
				f.Claim = claim(lane.Waiting, failed, func(c *ClaimInfo) { c.NotBefore = now.Add(-time.Second) })
				f.Turn.Delivered = true
			}, LaneDelivering, "job 9 (archive) is being delivered to a worker right now, or will be within 15s (5 of 5 slots of 1 worker(s) are busy)",
		}, {
			"between two jobs", func(f *facts) {
				f.Claim = claim(lane.Running, func(c *ClaimInfo) { c.Job = 8 })
				holds(f, worker())
				f.Turn.Delivered = true
			}, LaneDelivering, "job 9 (archive) is next: worker h1-a has just ended job 8 of the lane and goes on, or another one does within 15s",
		}, {
			"dying", func(f *facts) {
				f.Claim = claim(lane.GivenBack, failed, func(c *ClaimInfo) { c.Dying = true })
			}, LaneMoving, "job 9 (failed: disk full) is dead and on its way to the dead letters",
		}, {
			"passing", func(f *facts) {
				f.Claim = claim(lane.GivenBack, failed, func(c *ClaimInfo) { c.Passing = true })
			}, LaneMoving, "job 9 (failed: disk full) is on its way to the end of the lane",
		}, {
			"no worker", func(f *facts) { f.serving = nil }, LaneUnserved,
			"no worker serves queue ci; start one: workerd --queue ci -- ./handle.sh",
		}, {
			"quiet workers", func(f *facts) { f.serving[0].State = StateQuiet }, LaneUnserved,
			"no worker takes jobs of queue ci: all 1 that serve it are quiet or stopping",
		}, {
			"no pool", func(f *facts) { f.Head.Kind = "mail" }, LaneUnserved,
			"job 9 is of kind mail, for which none of the 1 worker(s) of queue ci has a pool",
		}, {
			"perhaps a pool", func(f *facts) { f.Head.Kind, f.serving[0].Pools = "mail", nil }, LaneQueued,
			"job 9 (mail) waits for a free slot behind at most 3 lane(s): its turn is there, 4 lane(s) are runnable, 5 of 5 slots of 1 worker(s) are busy",
		}, {
			"limited", func(f *facts) { f.limit = "waits for a limit" }, LaneLimited, "waits for a limit",
		}, {
			"queued", func(*facts) {}, LaneQueued,
			"job 9 (archive) waits for a free slot behind at most 3 lane(s): its turn is there, 4 lane(s) are runnable, 5 of 5 slots of 1 worker(s) are busy",
		}, {
			"of a stream that is gone", func(f *facts) { f.Claim, f.about = claim(lane.Halted), 1 }, LaneQueued,
			"job 9 (archive) waits for a free slot behind at most 3 lane(s): its turn is there, 4 lane(s) are runnable, 5 of 5 slots of 1 worker(s) are busy",
		}, {
			"audit due", func(f *facts) { f.Turn, f.audit = nil, now.Add(3*time.Second) }, LaneStranded,
			"the lane's turn is missing; the audit looks at it in 3s",
		}, {
			"audit overdue", func(f *facts) { f.Turn, f.audit = nil, now.Add(-3*time.Second) }, LaneStranded,
			"the lane's turn is missing; the audit looks at it now",
		}, {
			"audit over", func(f *facts) { f.Turn = nil }, LaneStranded,
			"the lane's turn is missing; the next sweep gives it one, within seconds when lanes are short of turns, else within five minutes",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &facts{
				LaneInfo: LaneInfo{
					Queue: "ci", Entity: "build.1", At: now, Head: &JobInfo{Seq: 9, Kind: "archive"}, Turn: &TurnInfo{Seq: 4},
					Runnable: 4, Ahead: 3, Workers: 1, Slots: 5, Busy: 5,
				},
				policy: DefaultPolicy(), attempts: DefaultPolicy().MaxAttempts, created: created, about: created.UnixNano(), serving: []SessionRecord{worker()},
			}
			test.facts(f)
			if state, why, _ := f.tell(); state != test.state || why != test.why {
				t.Errorf("%s: %s\nwant %s: %s", state, why, test.state, test.why)
			}
		})
	}
}
