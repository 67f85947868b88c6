package control

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

// Workers are told from afar what signals tell them on their host.
func TestWorkersAreToldFromAfar(t *testing.T) {
	d := newDesk(t)
	one := d.Host("w1", d.SleepPool(1, 2))
	one.Timeout = rig.Bound // its stop waits for the job
	one.Start()
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("go")})
	d.awaitRun("build.1")
	type told struct {
		ID    string `json:"id"`
		State string `json:"state"`
		Busy  int    `json:"busy"`
	}
	got := ask[[]told](d, "worker", "quiet", "--all")
	if len(got) != 1 || got[0] != (told{"w1.1", streams.StateQuiet, 1}) {
		t.Fatalf("%+v", got)
	}
	if code, said := d.fails("worker", "quiet", "w1.1", "--wait=500ms"); code != 1 {
		t.Errorf("%d: %s", code, said)
	}
	d.Import(rig.Job{Entity: "build.2"})
	d.becomes("build.2", streams.LaneUnserved, "all 1 that serve it are quiet or stopping")
	b := d.start(nil, "worker", "quiet", "w1.1", "--wait")
	d.Touch("go")
	if code := b.ends(); code != 0 {
		t.Errorf("%d: %s", code, b.errs.String())
	}
	// A guardian that starts a new engine keeps it quiet: it was told too.
	if got := ask[[]told](d, "worker", "resume", "w1.1"); got[0].State != streams.StateRunning {
		t.Errorf("%+v", got)
	}
	d.AwaitFinished(2, rig.Bound)

	d.Import(rig.Job{Entity: "build.1", Until: d.Path("end")})
	d.awaitRun("build.1")
	one.Dying()
	b = d.start(nil, "worker", "stop", "w1.1", "--wait", "--json")
	d.until("it stops", func() bool {
		said, err := fleet.Said(one.Proc.Log, func(l fleet.LogLine) bool { return strings.HasPrefix(l.Message, "stopping: ") })
		return err == nil && said
	}, func() string { return "not told" })
	d.Touch("end")
	if code := b.ends(); code != 0 {
		t.Errorf("%d: %s", code, b.errs.String())
	}
	if err := json.Unmarshal(b.out.Bytes(), &got); err != nil || len(got) != 1 || got[0].State != streams.StateStopped {
		t.Errorf("%v: %s", err, b.out.String())
	}
	if err := one.Proc.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	d.AwaitFinished(3, rig.Bound)
	if code, said := d.fails("worker", "resume", "w1.1"); code != 1 {
		t.Errorf("%d: %s", code, said)
	}
	d.Check()
}
