package control

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

// what job cancel says.
type cancelled struct {
	Seq    uint64 `json:"seq"`
	Was    string `json:"was"`
	Worker string `json:"worker"`
	Gone   bool   `json:"gone"`
}

// A job that runs is ended with its whole group, in order if it can, and the lane goes on with the next one. It is
// neither dead nor tried again.
func TestCancelOfARunningJob(t *testing.T) {
	for name, pool := range map[string]func(*rig.Rig) fleet.Pool{
		"exec": func(r *rig.Rig) fleet.Pool { return r.SleepExec(2) },
		"pool": func(r *rig.Rig) fleet.Pool { return r.SleepPool(1, 2) },
		"exec that does not heed TERM": func(r *rig.Rig) fleet.Pool {
			p := r.SleepExec(2)
			p.Env["CHILD_STUBBORN"] = "1"
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			h := d.Host("w1", pool(d.Rig)).Start()
			d.Import(rig.Job{Entity: "build.1", Until: d.Path("never"), Dead: true}, rig.Job{Entity: "build.1"}, rig.Job{Entity: "build.2", Until: d.Path("go")})
			run := d.awaitRun("build.1")
			d.awaitRun("build.2")
			got := ask[[]cancelled](d, "job", "cancel", rig.Queue, "1")
			if len(got) != 1 || !got[0].Gone || got[0].Was != "running" || !strings.HasPrefix(got[0].Worker, "w1.") {
				t.Errorf("%+v", got)
			}
			d.Await("the next one ran", rig.Bound, func(tail *fleet.Tail) bool { return tail.Finished == 1 })
			if name != "pool" && fleet.Lives(run.PID) {
				t.Error("its process lives")
			}
			d.Touch("go") // the other job of the child was left alone, but for a child that had to be killed
			d.AwaitFinished(2, rig.Bound)
			d.AwaitEmpty(rig.Bound)
			if i := d.info(); i.Dead != 0 {
				t.Errorf("%d dead", i.Dead)
			}
			if n := d.starts("build.1"); n != 2 {
				t.Errorf("%d starts", n)
			}
			h.Stop()
			d.Check()
		})
	}
}

// A child of a pool that does not hear the cancel is killed with what it runs, and its other jobs run again.
func TestCancelOfAJobInADeafChild(t *testing.T) {
	d := newDesk(t)
	d.Host("w1", d.SleepPool(1, 2)).Start()
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("never"), Dead: true}, rig.Job{Entity: "build.2", Until: d.Path("go")})
	run := d.awaitRun("build.1")
	d.awaitRun("build.2")
	at := record.Now()
	if err := syscall.Kill(run.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d.Coordinator("job", "cancel", rig.Queue, "1")
	if fleet.Lives(run.PID) {
		t.Error("the child lives")
	}
	d.Fault(record.Kill{At: at, Until: record.Now(), Worker: "w1"})
	d.Touch("go")
	d.AwaitFinished(1, rig.Bound)
	if i := d.info(); i.Dead != 0 {
		t.Errorf("%d dead", i.Dead)
	}
	d.Check()
}

// A job that waits behind one that runs is not started any more; alone it is removed at once.
func TestCancelOfAWaitingJob(t *testing.T) {
	d := newDesk(t)
	d.Host("w1", d.SleepPool(1, 2)).Start()
	d.Import(rig.Job{Entity: "build.1", Until: d.Path("go")}, rig.Job{Entity: "build.1", Dead: true}, rig.Job{Entity: "build.1"})
	d.awaitRun("build.1")
	code, said := d.fails("job", "cancel", rig.Queue, "2", "--wait", "5s")
	if code != 1 || !strings.Contains(said, "job 2 of build.1 is still there: job 1 (default) runs on worker w1.") {
		t.Errorf("%d: %s", code, said)
	}
	b := d.start(nil, "job", "cancel", rig.Queue, "2", "--json")
	time.Sleep(300 * time.Millisecond)
	d.Touch("go")
	// On a slow host the job is gone before the command has looked.
	if code := b.ends(); (code != 0 || !strings.Contains(b.out.String(), `"gone": true`)) && !strings.Contains(b.errs.String(), "read job 2 of q: not found") {
		t.Errorf("%d: %s %s", code, b.out.String(), b.errs.String())
	}
	d.AwaitFinished(2, rig.Bound)
	if n := d.starts("build.1"); n != 2 {
		t.Errorf("%d starts: the cancelled one too", n)
	}
	d.Check()
}

// A job that waits for its retry is cancelled, and the next one runs at once.
func TestCancelOfAJobThatWaitsForItsRetry(t *testing.T) {
	d := newDesk(t, "--backoff", "1h")
	d.Host("w1", d.SleepPool(1, 2)).Start()
	d.Coordinator("job", "publish", rig.Queue, "build.1", "--data", "nonsense")
	d.Import(rig.Job{Entity: "build.1"})
	d.becomes("build.1", streams.LaneRetrying, "retry of job 1 at ")
	d.Coordinator("job", "cancel", rig.Queue, "1")
	d.AwaitFinished(1, rig.Bound)
	d.Check()
}
