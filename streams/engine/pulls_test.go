package engine

import (
	"testing"
	"time"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// Where nobody gives out turns, as with a queue that was removed or between two leaders, a pull is refused at once. An
// idle worker then asks now and then, and goes on when there is somebody again.
func TestPullsThatAreRefusedAreNotRepeatedAtOnce(t *testing.T) {
	srv, nc, js, rec, e := served(t)
	heard := func() int64 {
		t.Helper()
		v, err := srv.NATS().Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v.InMsgs
	}
	if err := js.DeleteConsumer(t.Context(), ci.TurnsStream(), subjects.TurnsConsumer); err != nil {
		t.Fatal(err)
	}
	before := heard()
	time.Sleep(3 * time.Second) // each refusal used to lead to the next pull: tens of thousands a second
	if n := heard() - before; n > 2000 {
		t.Errorf("an idle worker sent %d messages", n)
	}
	if _, _, err := streams.EditQueue(t.Context(), js, ci, func(*streams.Policy) {}); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "build.1", 1)
	rec.wait(t, 1)
	stop(t, e)
}
