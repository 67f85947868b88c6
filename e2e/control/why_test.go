package control

import (
	"slices"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

// lane why beside workers that live, one reason after another.
func TestWhy(t *testing.T) {
	d := newDesk(t, "--lease", "20s", "--backoff", "1h", "--limit", "type:few=1") // it is silent for a third of it: time to look
	d.becomes("build.1", streams.LaneEmpty, "nothing waits")
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("go")})
	d.becomes("build.1", streams.LaneUnserved, "no worker serves queue q")
	pool := d.SleepPool(1, 3)
	pool.Kinds = []string{"default"}
	h := d.Host("w1", pool)
	proxies := d.Proxied(h)
	h.Start()
	d.awaitRun("build.1")
	d.becomes("build.1", streams.LaneRunning, "job 1 (default) runs on worker w1.1 since ")

	d.Coordinator("job", "publish", rig.Queue, "mail.1", "--kind", "mail")
	d.becomes("mail.1", streams.LaneUnserved, "job 2 is of kind mail, for which none of the 1 worker(s) of queue q has a pool")
	d.Coordinator("job", "publish", rig.Queue, "bad.1", "--data", "nonsense")
	d.becomes("bad.1", streams.LaneRetrying, "(attempt 1 of 5 failed: read the job: ")

	d.Import(rig.Job{Entity: "few.1", Until: d.Path("go")}, rig.Job{Entity: "few.2", Until: d.Path("go")})
	d.Await("one of few runs", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == 2 })
	first, second := "few.1", "few.2"
	if !slices.ContainsFunc(d.Tail.Open(), func(e record.Event) bool { return e.Entity == first }) {
		first, second = second, first
	}
	d.becomes(first, streams.LaneRunning, "runs on worker w1.1")
	d.becomes(second, streams.LaneLimited, "waits for the limit type:few=1: 1 worker(s) have all of it")

	d.Import(rig.Job{Entity: "build.2", Until: d.Path("go")})
	d.awaitRun("build.2")
	d.Import(rig.Job{Entity: "build.3"})
	d.becomes("build.3", streams.LaneQueued, "3 of 3 slots of 1 worker(s) are busy")

	for _, p := range proxies {
		p.Hold(fleet.Up, fleet.Down)
	}
	d.becomes("build.1", streams.LaneSilent, "job 1 (default) runs on worker w1.1, which has been silent since ")
	d.becomes("build.1", streams.LaneLost, "job 1 (default) ran on worker w1.1, which is lost; no other worker serves queue q")
	h.Dying()
	if err := h.Proc.KillTree(); err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		p.Release()
	}
	d.Touch("go")
	h.Start()
	d.Await("all ran", rig.Bound, func(*fleet.Tail) bool { return d.info().Jobs == 2 })
}

// A turn that is gone is missed, and the audit is said to see to it.
func TestWhyOfALaneWithoutATurn(t *testing.T) {
	d := newDesk(t)
	d.Host("w1", d.SleepPool(1, 1)).Start()
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("go")})
	d.awaitRun("build.1")
	d.Import(rig.Job{Entity: "build.2"})
	d.becomes("build.2", streams.LaneQueued, "waits for a free slot")
	m := d.Meddler()
	var l streams.LaneInfo
	d.until("it is missed", func() bool { // again, if the audit gave it another one before anybody could look
		if _, err := m.DropTurns(t.Context(), func(entity string) bool { return entity == "build.2" }); err != nil {
			t.Fatal(err)
		}
		l = d.why("build.2")
		return l.State == streams.LaneStranded && strings.HasPrefix(l.Why, "the lane's turn is missing; the ")
	}, func() string { return string(l.State) + ": " + l.Why })
	t.Log(l.Why)
	d.becomes("build.2", streams.LaneQueued, "waits for a free slot")
	d.Touch("go")
	d.AwaitFinished(2, rig.Bound)
	d.Check()
}
