package rights

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
)

// Each role can do its work: every command of the command line, and workers that finish, fail, die and hand over. All
// rigs know the printed users only, so the rest of the end-to-end tests runs under these rights too; here it is looked
// at that nothing was refused on the way.
func TestEveryRoleCanWork(t *testing.T) {
	everyRoleCanWork(t, rig.New(t, "--max-attempts", "1", "--lease", rig.SoonLost))
}

func everyRoleCanWork(t *testing.T, r *rig.Rig) {
	t.Helper()
	dying := fleet.Pool{Name: "dying", Kinds: []string{"dying"}, Mode: "exec", Command: []string{"sh", "-c", "exit 100"}, Concurrency: 2}
	// A pool that takes all kinds comes last.
	w := r.Host("w1", dying, r.SleepExec(4)).Start()

	r.Import(rig.Job{Entity: "e.1"}, rig.Job{Entity: "e.1"}, rig.Job{Entity: "e.2"})
	r.AwaitFinished(3, rig.Bound)
	for i := range 3 {
		r.Coordinator("job", "publish", rig.Queue, fmt.Sprintf("d.%d", i), "--kind", "dying")
	}
	eventually(t, "three dead jobs", func() bool {
		info, err := r.Admin.QueueInfo(within(t), rig.Queue)
		return err == nil && info.Dead == 3 && info.Jobs == 0
	})
	var dead []struct{ Seq int }
	if err := r.Admin.JSON(within(t), &dead, "dead", "ls", rig.Queue); err != nil || len(dead) != 3 {
		t.Fatal(dead, err)
	}
	r.Coordinator("dead", "info", rig.Queue, fmt.Sprint(dead[0].Seq))
	r.Coordinator("dead", "rm", rig.Queue, fmt.Sprint(dead[0].Seq))
	r.Coordinator("dead", "retry", rig.Queue, "--all", "--force")
	eventually(t, "two that died again", func() bool {
		info, err := r.Admin.QueueInfo(within(t), rig.Queue)
		return err == nil && info.Dead == 2 && info.Jobs == 0
	})
	var workers []struct{ ID string }
	if err := r.Admin.JSON(within(t), &workers, "worker", "ls"); err != nil || len(workers) != 1 {
		t.Fatal(workers, err)
	}
	r.Coordinator("worker", "info", workers[0].ID)

	// A job is handed over, and a worker dies.
	end := r.Path("end")
	r.Import(rig.Job{Entity: "e.3", Until: end})
	r.Await("a start", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == 1 })
	second := r.Host("w2", dying, r.SleepExec(4)).Start()
	w.Kill()
	r.Await("a start elsewhere", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.OpenOf("w2")) == 1 })
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitFinished(4, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	second.Stop()

	// Commands on a queue that nobody serves.
	for range 3 {
		r.Coordinator("job", "publish", rig.Queue, "x.1")
	}
	var jobs []struct{ Seq int }
	if err := r.Admin.JSON(within(t), &jobs, "job", "ls", rig.Queue); err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	r.Coordinator("job", "info", rig.Queue, fmt.Sprint(jobs[0].Seq))
	r.Coordinator("job", "rm", rig.Queue, fmt.Sprint(jobs[0].Seq), "--force")
	r.Coordinator("queue", "edit", rig.Queue, "--max-attempts", "7")
	r.Coordinator("queue", "ls")
	r.Coordinator("queue", "purge", rig.Queue, "--force")
	if info, err := r.Admin.QueueInfo(within(t), rig.Queue); err != nil || info.Jobs != 0 || info.Policy.MaxAttempts != 7 || len(info.Drift) != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	r.Check()
	r.Coordinator("queue", "rm", rig.Queue, "--force")
	r.Coordinator("queue", "add", rig.Queue)

	logs, err := filepath.Glob(r.Path("w*.log"))
	if err != nil || len(logs) != 2 {
		t.Fatal(logs, err)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil || strings.Contains(string(text), "refuses this to the worker") {
			t.Errorf("%v: refused on the way:\n%s", err, text)
		}
	}
}

func eventually(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !there(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}
