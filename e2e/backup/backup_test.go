// Package backup tests saving and restoring a queue with real binaries: workers that run while it is saved, and workers
// that still run when everything that they know of is lost.
package backup

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// A queue is saved while its workers run; some time later the server and its disk are lost, the workers are not: they go
// on with what they have. A new server comes up in the old one's place, empty, and the queue is restored at once. Every
// job that was not done is done, in order, none beside another, also not beside what still ran; fences have grown.
func TestRestoreUnderLivingWorkers(t *testing.T) {
	const lease = 6 * time.Second
	r := rig.New(t, "--lease", lease.String())
	for _, name := range []string{"w1", "w2"} {
		r.Host(name, r.SleepPool(2, 4)).Start()
	}
	var jobs []rig.Job
	const entities = 40
	for i := range rig.Size(400, 4000) {
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("e.%d", i%entities), MS: 5 + i%20})
	}
	r.Import(jobs...)
	// Some run until the end, and so when the disk is lost.
	end := r.Path("end")
	var long []rig.Job
	for i := range 4 {
		long = append(long, rig.Job{Entity: fmt.Sprintf("long.%d", i), Until: end}, rig.Job{Entity: fmt.Sprintf("long.%d", i), MS: 5})
	}
	r.Import(long...)
	third := len(jobs) / 3
	r.Await("a third done", rig.Bound, func(tail *fleet.Tail) bool { return tail.Finished >= third })
	dir := r.Path("backup")
	saved := record.Now()
	r.Coordinator("queue", "backup", rig.Queue, dir)
	r.Await("more done", rig.Bound, func(tail *fleet.Tail) bool { return tail.Finished >= 2*third })
	r.Await("the long ones run", rig.Bound, func(tail *fleet.Tail) bool {
		n := 0
		for _, e := range tail.Open() {
			if e.Op > len(jobs) {
				n++
			}
		}
		return n == 4
	})

	fault := record.Kill{At: saved} // what was done since comes again
	r.Server.Kill()
	lost := record.Now()
	if err := os.RemoveAll(filepath.Join(r.Server.Dir(), "jetstream")); err != nil {
		t.Fatal(err)
	}
	r.Server.Restart()
	out := r.Coordinator("queue", "restore", rig.Queue, dir)
	t.Logf("%s", out)
	fault.Until = record.Now()
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitEmpty(rig.Bound)
	r.Fault(fault)
	// What a worker had claimed it may start until its lease is over; what comes back waits for that.
	judge(t, r, lost+int64(lease), len(jobs)+len(long))
}

// judge stops the workers and looks at the record: the checker knows no time that goes back, so order and loss are
// looked at here, and overlaps there. Until lost nothing that was restored runs, and later nothing else.
func judge(t *testing.T, r *rig.Rig, lost int64, jobs int) {
	t.Helper()
	for _, h := range r.Hosts() {
		h.Stop()
	}
	report := r.Judge()
	if report.Overlaps > 0 || report.LockBusy > 0 {
		t.Errorf("the checker found:\n%s", report)
	}
	log, err := record.ReadFiles(r.Path("record"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(log.Events, func(a, b record.Event) int { return cmp.Compare(a.T, b.T) })
	done := map[int]bool{}
	type last struct {
		seq, fence uint64
		after      bool
	}
	lanes := map[string]last{}
	again := 0
	for _, e := range log.Events {
		if e.What == record.Finish {
			if done[e.Op] {
				again++
			}
			done[e.Op] = true
		}
		if e.What != record.Start {
			continue
		}
		was, after := lanes[e.Entity], e.T > lost
		if e.Seq < was.seq && after == was.after {
			t.Errorf("%s: job %d started after job %d", e.Entity, e.Seq, was.seq)
		}
		if e.Fence <= was.fence {
			t.Errorf("%s: fence %d after %d", e.Entity, e.Fence, was.fence)
		}
		lanes[e.Entity] = last{e.Seq, e.Fence, after}
	}
	if len(done) != jobs {
		t.Errorf("%d of %d jobs were done", len(done), jobs)
	}
	t.Logf("%d jobs done, %d of them again after the restore; %d overlaps", len(done), again, report.Overlaps)
}

// What a job has been through comes back with it, and what was dead is dead.
func TestCountsAndDeadComeBack(t *testing.T) {
	r := rig.New(t, "--lease", "6s", "--max-attempts", "3", "--backoff", "8s,8s,1,0")
	tries := r.Path("tries")
	pool := fleet.Pool{
		Name: "failing", Kinds: []string{"*"}, Mode: "exec", Concurrency: 2,
		Command: []string{"sh", "-c", `echo "$JOB_ENTITY $JOB_ATTEMPT" >> ` + tries + `; exit 1`},
	}
	h := r.Host("w1", pool).Start()
	r.Coordinator("job", "publish", rig.Queue, "gone.1", "--max-attempts", "1")
	eventually(t, "a dead job", func() bool { return info(t, r).Dead == 1 })
	r.Coordinator("job", "publish", rig.Queue, "sick.1")
	eventually(t, "a job that waits for its retry", func() bool { return info(t, r).Retrying == 1 })
	h.Stop()
	r.Coordinator("queue", "backup", rig.Queue, r.Path("backup"))
	before, err := os.ReadFile(tries)
	if err != nil {
		t.Fatal(err)
	}
	r.Coordinator("queue", "rm", rig.Queue, "--force")
	var told struct{ Claims, Jobs, Dead int }
	if err := json.Unmarshal(r.Coordinator("queue", "restore", rig.Queue, r.Path("backup"), "--json"), &told); err != nil {
		t.Fatal(err)
	}
	if told.Claims != 1 || told.Jobs != 1 || told.Dead != 1 {
		t.Errorf("%+v", told)
	}
	r.Host("w2", pool).Start()
	eventually(t, "two dead jobs", func() bool { i := info(t, r); return i.Dead == 2 && i.Jobs == 0 })
	after, err := os.ReadFile(tries)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("before:\n%safter:\n%s", before, after[len(before):])
	if want := "sick.1 1\nsick.1 2\nsick.1 3\n"; string(after)[len("gone.1 1\n"):] != want {
		t.Errorf("tries:\n%s", after)
	}
}

type queueInfo struct{ Jobs, Dead, Retrying int }

func info(t *testing.T, r *rig.Rig) (i queueInfo) {
	t.Helper()
	if err := r.Admin.JSON(t.Context(), &i, "queue", "info", rig.Queue); err != nil {
		t.Fatal(err)
	}
	return i
}

func eventually(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !there(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}
