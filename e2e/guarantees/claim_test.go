package guarantees

import (
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// What a step of the server's clock does to a long job, done by hand: its claim is gone before its time, and its turn
// comes again. This is the overlap that docs/guarantees.md tells of. It ends when the holder rewrites its claim: that is
// refused, and the job is killed; the other run goes on under the claim that stands.
func TestAClaimThatGoesBeforeItsTime(t *testing.T) {
	r := rig.New(t, "--backoff", "1s,1s,1,0", "--max-attempts", "100")
	for _, name := range []string{"w1", "w2"} {
		r.Host(name, r.SleepExec(2)).Start()
	}
	end := r.Path("end")
	r.Import(rig.Job{Entity: "e.1", Until: end})
	var first record.Event
	busy := 0
	r.Tail.On = func(e record.Event) {
		switch {
		case e.What == record.Start && first.T == 0:
			first = e
		case e.What == record.LockBusy:
			busy++
		}
	}
	r.Await("the first start", rig.Bound, func(*fleet.Tail) bool { return first.T != 0 })
	js, err := jetstream.New(r.Conn())
	if err != nil {
		t.Fatal(err)
	}
	q := subjects.Queue(rig.Queue)
	m, err := streams.LastMessage(t.Context(), js, q.ClaimsStream(), "claims.q.e.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.DeleteMessage(t.Context(), js, q.ClaimsStream(), m.Seq); err != nil {
		t.Fatal(err)
	}
	// The entity's lock keeps the other run out as long as the first one lives. The turn may be given to the first one's
	// worker, which keeps it: then it comes once more.
	meddler, came := r.Meddler(), time.Time{}
	r.Await("another run beside the first", rig.Bound, func(*fleet.Tail) bool {
		if busy == 0 && time.Since(came) > 500*time.Millisecond {
			if _, err := meddler.Double(t.Context(), "e.1"); err != nil {
				t.Fatal(err)
			}
			came = time.Now()
		}
		return busy > 0
	})
	eventually(t, "the first run is killed", func() bool { return !fleet.Lives(first.PID) })
	r.Await("a run alone", rig.Bound, func(tail *fleet.Tail) bool {
		open := tail.Open()
		return len(open) == 1 && open[0].PID != first.PID || len(open) == 2
	})
	if err := os.WriteFile(end, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r.AwaitFinished(1, rig.Bound)
	r.AwaitEmpty(rig.Bound)
	t.Logf("another run was tried %d times beside the first one, until that was killed", busy)
}
