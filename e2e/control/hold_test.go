package control

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

// hold runs e2e/child in an entity's turn: it takes the lock of the entity that jobs take, and keeps a record of its own.
func (d desk) hold(entity, job string, flags ...string) *background {
	d.t.Helper()
	script := fmt.Sprintf(`echo '%s' | exec '%s'`, job, rig.Binary(d.t, fleet.Build{Name: "child"}))
	args := append([]string{"lane", "hold", rig.Queue, entity}, flags...)
	return d.start([]string{
		"CHILD_RECORD=" + d.Path("holds"), "CHILD_LOCKS=" + d.Path("locks"), "CHILD_WORKER=hold", "JOB_SEQ=0", "JOB_ATTEMPT=1",
	}, append(args, "--", "sh", "-c", script)...)
}

// held reads what the commands of holds wrote down.
func (d desk) held() (runs []record.Event) {
	d.t.Helper()
	log, err := record.ReadFiles(d.Path("holds"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return log.Events
}

// awaitHeld waits until the command of a hold runs.
func (d desk) awaitHeld() record.Event {
	d.t.Helper()
	d.until("the command runs", func() bool { return len(d.held()) > 0 }, func() string { return "not" })
	return d.held()[0]
}

// apart demands that no run of jobs met one of a hold, and that each grant had a higher fence than those before. A run that
// a kill may have cut short has no end in the record.
func (d desk) apart(kills ...record.Kill) (holds int) {
	d.t.Helper()
	log, err := record.ReadFiles(d.Path("record"), d.Path("holds"))
	if err != nil {
		d.t.Fatal(err)
	}
	open, fences := map[string]record.Event{}, map[string]uint64{}
	for _, e := range sorted(log.Events) {
		switch e.What {
		case record.Start:
			other, busy := open[e.Entity]
			cut := slices.ContainsFunc(kills, func(k record.Kill) bool { return k.Worker == other.Worker && other.T <= k.Until && k.At <= e.T })
			if busy && !cut {
				d.t.Errorf("%+v began beside %+v", e, other)
			}
			if e.Fence <= fences[e.Entity] {
				d.t.Errorf("%+v has no higher fence than %d", e, fences[e.Entity])
			}
			open[e.Entity], fences[e.Entity] = e, e.Fence
			if e.Worker == "hold" {
				holds++
			}
		case record.Finish, record.Failed:
			delete(open, e.Entity)
		default:
			d.t.Errorf("%+v", e)
		}
	}
	return holds
}

// A lane that is never idle is had again and again, in reasonable time, and nothing of it runs meanwhile.
func TestHoldUnderLoad(t *testing.T) {
	d := newDesk(t, "--lease", rig.SoonLost)
	d.Host("w1", d.SleepPool(1, 3)).Start()
	victim := d.Host("w2", d.SleepExec(2)).Start()
	const lanes = 3
	jobs := make([]rig.Job, rig.Size(6_000, 60_000))
	for i := range jobs {
		jobs[i] = rig.Job{Entity: fmt.Sprintf("busy.%d", i%lanes), MS: 1}
	}
	d.Import(jobs...)
	d.AwaitFinished(10, rig.Bound)
	rounds := rig.Size(4, 40)
	var slowest time.Duration
	var kill record.Kill
	for i := range rounds {
		var all []*background
		began := time.Now()
		for l := range lanes {
			all = append(all, d.hold(fmt.Sprintf("busy.%d", l), fmt.Sprintf(`{"op":%d,"ms":20}`, i), "--wait", "1m"))
		}
		for _, b := range all {
			if code := b.ends(); code != 0 {
				t.Fatalf("%d: %s", code, b.errs.String())
			}
		}
		slowest = max(slowest, time.Since(began))
		if i == rounds/2 {
			at := record.Now()
			victim.Kill()
			kill = record.Kill{At: at, Until: record.Now(), Worker: victim.Name}
			victim.Start()
		}
	}
	t.Logf("%d holds, the slowest took %s", rounds*lanes, slowest)
	if i := d.info(); i.Jobs == 0 {
		t.Error("the lanes were idle before the end: nothing is shown")
	}
	for l := range lanes {
		d.Coordinator("queue", "purge", rig.Queue, "--entity", fmt.Sprintf("busy.%d", l), "--force")
	}
	d.Await("nothing runs", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == 0 })
	for _, h := range d.Hosts() {
		h.Stop()
	}
	if n := d.apart(kill); n != rounds*lanes {
		t.Errorf("%d holds are in the record", n)
	}
	if p := ask[[]streams.LaneRow](d, "lane", "ls", rig.Queue, "--state", "paused,held"); len(p) != 0 {
		t.Errorf("left behind: %+v", p)
	}
}

// A command that waits for its lane and is interrupted leaves no pause behind; nor does it run.
func TestAHoldThatIsInterruptedWhileItWaits(t *testing.T) {
	d := newDesk(t, "--lease", rig.SoonLost)
	d.Host("w1", d.SleepPool(1, 2)).Start()
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("go")}, rig.Job{Entity: "build.1"})
	d.awaitRun("build.1")
	b := d.hold("build.1", `{"op":1}`)
	d.becomes("build.1", streams.LaneRunning, "the lane is paused by ")
	if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := b.ends(); code != 1 || !strings.Contains(b.errs.String(), "nothing is held, and nothing is left paused") {
		t.Errorf("%d: %s", code, b.errs.String())
	}
	if l := d.why("build.1"); l.Paused != nil {
		t.Errorf("still paused: %+v", l.Paused)
	}
	// One that is killed cannot clean up; its pause ends by itself.
	b = d.hold("build.1", `{"op":1}`)
	d.becomes("build.1", streams.LaneRunning, "the lane is paused by ")
	_ = b.cmd.Process.Kill()
	b.ends()
	d.Touch("go")
	d.AwaitFinished(2, rig.Bound)
	if n := len(d.held()); n != 0 {
		t.Errorf("a command ran: %+v", d.held())
	}
	d.Check()
}

// Whatever becomes of the program that holds a lane, its command is gone before anybody else has the lane.
func TestAHoldWhoseHolderIsGone(t *testing.T) {
	for name, harm := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, "--lease", rig.SoonLost)
			d.Host("w1", d.SleepPool(1, 2)).Start()
			b := d.hold("build.1", `{"op":1,"until":"`+d.Path("never")+`"}`)
			run := d.awaitHeld()
			d.Import(rig.Job{Entity: "build.1"})
			if err := b.cmd.Process.Signal(harm); err != nil {
				t.Fatal(err)
			}
			d.AwaitFinished(1, rig.Bound)
			if fleet.Lives(run.PID) {
				t.Error("the command lives while a job of its entity ran")
			}
			_ = b.cmd.Process.Kill()
			b.ends()
			d.Check()
		})
	}
}

// A server that is away for longer than the lease ends the command; one that is away for a moment does not.
func TestAHoldWhoseServerIsAway(t *testing.T) {
	d := newDesk(t, "--lease", "20s") // so that a host which is slow to start the server loses nothing
	b := d.hold("build.1", `{"op":1,"until":"`+d.Path("never")+`"}`)
	run := d.awaitHeld()
	d.Server.Stop()
	time.Sleep(time.Second)
	d.Server.Restart()
	back := time.Now()
	d.until("its session goes on", func() bool {
		h := d.why("build.1").Holder
		return h != nil && h.BeatAt.After(back)
	}, func() string { return d.why("build.1").Why })
	if !fleet.Lives(run.PID) {
		t.Fatal("the command was killed by a short loss of the server")
	}
	d.Server.Stop()
	if code := b.ends(); code != 1 || !strings.Contains(b.errs.String(), "build.1 could not be kept: the command was killed") {
		t.Errorf("%d: %s", code, b.errs.String())
	}
	if fleet.Lives(run.PID) {
		t.Error("the command lives")
	}
	d.Server.Restart()
}

// Signals reach the command, which may end as it likes; its exit code is passed on, and the lane goes on.
func TestAHoldPassesSignalsOn(t *testing.T) {
	d := newDesk(t)
	d.Host("w1", d.SleepPool(1, 2)).Start()
	up := d.Path("up")
	script := `trap 'echo got; exit 7' INT; : > "` + up + `"; while :; do sleep 0.05; done`
	b := d.start(nil, "lane", "hold", rig.Queue, "build.1", "--", "sh", "-c", script)
	d.until("it is held", func() bool { return d.why("build.1").State == streams.LaneHeld }, func() string { return d.why("build.1").Why })
	d.Import(rig.Job{Entity: "build.1"})
	d.becomes("build.1", streams.LaneHeld, "held by an operator's command since ")
	d.until("the shell has set its trap", func() bool { _, err := os.Stat(up); return err == nil }, func() string { return up })
	if err := b.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := b.ends(); code != 7 || !strings.Contains(b.out.String(), "got") {
		t.Errorf("%d: %s%s", code, b.out.String(), b.errs.String())
	}
	d.AwaitFinished(1, rig.Bound)
	d.Check()
}
