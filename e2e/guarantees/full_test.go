// Package guarantees tests rows of docs/guarantees.md that no other test is about.
package guarantees

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/internal/natstest"
)

func TestMain(m *testing.M) { rig.Main(m) }

// The server's storage is full, by somebody else's doing. Publishers are refused. Workers cannot write that they live:
// they kill what runs and wait. When there is room again, every job that was acknowledged is done, in order, none beside
// another.
func TestStorageFull(t *testing.T) {
	r := rig.NewWith(t, 1, []natstest.Option{natstest.MaxStore(16 << 20)}, "--lease", "6s")
	hosts := []*rig.Host{r.Host("w1", r.SleepPool(2, 4)).Start(), r.Host("w2", r.SleepPool(2, 4)).Start()}
	end := r.Path("end")
	var jobs []rig.Job
	for i := range 4 { // these run when the storage fills
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("long.%d", i), Until: end})
	}
	for i := range 400 {
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("e.%d", i%20), MS: 10})
	}
	r.Import(jobs...)
	r.Await("some done, and the long ones run", rig.Bound, func(tail *fleet.Tail) bool {
		n := 0
		for _, e := range tail.Open() {
			if strings.HasPrefix(e.Entity, "long.") {
				n++
			}
		}
		return tail.Finished >= 50 && n == 4
	})

	js, err := jetstream.New(r.Conn())
	if err != nil {
		t.Fatal(err)
	}
	fault := record.Kill{At: record.Now()}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FILL", Subjects: []string{"fill"}}); err != nil {
		t.Fatal(err)
	}
	block, filled := make([]byte, 256<<10), 0
	for {
		if _, err = js.Publish(t.Context(), "fill", block); err != nil {
			break
		}
		if filled++; filled > 1000 {
			t.Fatal("the storage does not fill")
		}
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		t.Fatal(err)
	}
	_, err = r.Admin.Run(t.Context(), "job", "publish", rig.Queue, "e.1")
	if err == nil || !strings.Contains(err.Error(), "no room left") {
		t.Errorf("a publisher is told: %v", err)
	}
	for _, h := range hosts {
		eventually(t, "the session is over", func() bool {
			said, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool { return strings.HasPrefix(l.Message, "the session is over") })
			return err == nil && said
		})
	}
	finished := r.Tail.Finished

	if err := js.DeleteStream(t.Context(), "FILL"); err != nil {
		t.Fatal(err)
	}
	fault.Until = record.Now()
	r.Fault(fault)
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitFinished(len(jobs), rig.Bound)
	r.AwaitEmpty(rig.Bound)
	report := r.Check()
	t.Logf("%d blocks of 256 KiB filled the storage (%s); %d jobs were done then; %d in the end, %d overlaps, %d out of order, %d run again",
		filled, api.Description, finished, report.Finished, report.Overlaps, report.OutOfOrder, report.Again)
}

// A queue with a limit of its own is full before the storage is. Publishers are refused, workers go on.
func TestQueueFull(t *testing.T) {
	r := rig.New(t, "--max-msgs", "100")
	var jobs []rig.Job
	for i := range 100 {
		jobs = append(jobs, rig.Job{Entity: fmt.Sprintf("e.%d", i%10), MS: 1})
	}
	r.Import(jobs...)
	_, err := r.Admin.Run(t.Context(), "job", "publish", rig.Queue, "e.1")
	if err == nil || !strings.Contains(err.Error(), "the queue is full") {
		t.Errorf("a publisher is told: %v", err)
	}
	r.Host("w1", r.SleepPool(2, 4)).Start()
	r.AwaitFinished(len(jobs), rig.Bound)
	r.AwaitEmpty(rig.Bound)
	r.Check()
}

func eventually(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !there(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}
