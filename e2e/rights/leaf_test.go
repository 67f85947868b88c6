package rights

import (
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams/rights"
)

// The same in another JetStream domain than that of the server that all are connected to.
func TestEveryRoleCanWorkByALeafNode(t *testing.T) {
	everyRoleCanWork(t, rig.NewLeaf(t, "--max-attempts", "1", "--lease", rig.SoonLost))
}

// What writes keys, reads ahead or takes snapshots works by a leaf node too: limits, pauses, holds, schedules, delays,
// results, cancels, backups. The leaf node's own JetStream stays empty.
func TestALeafNode(t *testing.T) {
	r := rig.NewLeaf(t, "--limit", "queue=2", "--history", "all")
	echo := fleet.Pool{
		Name: "echo", Kinds: []string{"echo"}, Mode: "exec", Command: []string{"sh", "-c", `echo "$JOB_ENTITY" >> "$NOTES"; cat`}, Concurrency: 1,
		Env: map[string]string{"NOTES": r.Path("notes")},
	}
	r.Host("w1", echo, r.SleepExec(4)).Start()
	says := func(want string, args ...string) {
		t.Helper()
		if out := string(r.Coordinator(args...)); !strings.Contains(out, want) {
			t.Errorf("%v says %q", args, out)
		}
	}
	says(`"done"`, "job", "publish", rig.Queue, "e.1", "--kind", "echo", "--data", "hello", "--wait", "--id", "one", "--json")
	eventually(t, "the record of the job", func() bool {
		_, err := r.Admin.Run(within(t), "job", "info", rig.Queue, "--id", "one", "--entity", "e.1")
		return err == nil
	})

	end := r.Path("end")
	r.Coordinator("lane", "pause", rig.Queue, "e.2")
	r.Import(rig.Job{Entity: "e.2"}, rig.Job{Entity: "e.3", Until: end}, rig.Job{Entity: "e.4", Until: end}, rig.Job{Entity: "e.5", Until: end})
	r.Await("as many as may run", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == 2 })
	eventually(t, "a lane that waits for the limit", func() bool {
		waits := false
		for _, entity := range []string{"e.3", "e.4", "e.5"} {
			out, err := r.Admin.Run(within(t), "lane", "why", rig.Queue, entity)
			waits = waits || err == nil && strings.Contains(string(out), "limit")
		}
		return waits
	})
	says("paused", "lane", "why", rig.Queue, "e.2")
	r.Touch("end")
	r.AwaitFinished(3, rig.Bound)
	r.Coordinator("lane", "resume", rig.Queue, "e.2")
	r.AwaitFinished(4, rig.Bound)
	if most := r.Tail.Peak; most > 2 {
		t.Errorf("%d jobs ran at once", most)
	}
	says("held", "lane", "hold", rig.Queue, "e.2", "--", "echo", "held")

	r.Coordinator("schedule", "add", rig.Queue, "often", "e.6", "--every", "1s", "--kind", "echo")
	operator := r.Admin // what delays jobs needs more than a publisher's rights
	operator.URLFor, operator.URL = nil, rig.As(rights.Operator, r.Leaf())
	if _, err := operator.Run(within(t), "job", "publish", rig.Queue, "e.7", "--in", "1s", "--kind", "echo"); err != nil {
		t.Error(err)
	}
	for _, entity := range []string{"e.6", "e.7"} {
		eventually(t, "a run of "+entity, func() bool {
			notes, err := os.ReadFile(r.Path("notes"))
			return err == nil && strings.Contains(string(notes), entity+"\n")
		})
	}
	r.Coordinator("schedule", "rm", rig.Queue, "often")
	r.AwaitEmpty(rig.Bound)

	// The way to the domain breaks, with a job that runs; a worker that starts meanwhile waits for it.
	again := r.Path("again")
	r.Import(rig.Job{Entity: "e.3", Until: again})
	r.Await("a start", rig.Bound, func(tail *fleet.Tail) bool { return len(tail.Open()) == 1 })
	fault := record.Kill{At: record.Now(), Worker: "w1"}
	r.Server.Kill()
	late := r.Host("w2", echo, r.SleepExec(4))
	late.Begin()
	eventually(t, "a worker that waits", func() bool {
		said, err := fleet.Said(late.Proc.Log, func(l fleet.LogLine) bool { return strings.Contains(l.Error, rig.Hub) })
		return err == nil && said
	})
	r.Server.Restart()
	r.AwaitHub()
	fault.Until = record.Now()
	r.Fault(fault)
	r.Touch("again")
	r.AwaitFinished(5, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	r.Check() // which stops the workers

	r.Coordinator("job", "publish", rig.Queue, "e.8")
	r.Coordinator("queue", "backup", rig.Queue, r.Path("backup"))
	r.Coordinator("queue", "rm", rig.Queue, "--force")
	says("1 job", "queue", "restore", rig.Queue, r.Path("backup"))

	nc, err := nats.Connect(r.Leaf())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.StreamNames(within(t)).Name() {
		t.Errorf("the leaf node has stream %s", name)
	}
}
