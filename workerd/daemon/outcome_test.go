package daemon

import (
	"reflect"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/streams/lane"
)

func TestOutcome(t *testing.T) {
	at := time.Now()
	got := outcome(lifecycle.Result{
		Cause: lifecycle.Failed, Err: "disk full", RetryIn: time.Second, Log: "a\n", LogShared: true, StartedAt: at, Took: time.Minute, GroupEmpty: true,
	})
	want := lane.Outcome{Cause: lane.CauseFailed, Error: "disk full", RetryIn: time.Second, Log: sharedLog + "a\n", StartedAt: at, Took: time.Minute}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got = outcome(lifecycle.Result{Cause: lifecycle.Done, Body: []byte("r"), LogShared: true})
	if want = (lane.Outcome{Cause: lane.CauseDone, Result: []byte("r"), Stuck: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for is, want := range map[lifecycle.Cause]lane.Cause{
		lifecycle.FailedForGood: lane.CauseFatal, lifecycle.TimedOut: lane.CauseFailed, lifecycle.Crashed: lane.CauseCrashed,
		lifecycle.Memory: lane.CauseMemory, lifecycle.Interrupted: lane.CauseInterrupted, lifecycle.NotStarted: lane.CauseInterrupted,
	} {
		if o := outcome(lifecycle.Result{Cause: is}); o.Cause != want || o.NotStarted != (is == lifecycle.NotStarted) {
			t.Errorf("%v: %+v", is, o)
		}
	}
}
