package cli

import (
	"context"
	"testing"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// The bound of cancel may be over while somebody is asked once more. What is told then is what the jobs wait for, and not
// that there was no time left to ask.
func TestCancelTellsWhatItKnewWhenTimeIsOver(t *testing.T) {
	s := &session{nc: natstest.Start(t).Conn(), timeout: streams.RequestTimeout}
	ctx, over := context.WithCancel(t.Context())
	over()
	for _, before := range []string{"", "job 1 runs on worker w1"} {
		c := &cancelled{Seq: 2, Why: before}
		l := &laneJobs{jobs: []*cancelled{c}}
		is := streams.LaneInfo{Why: "job 1 runs on worker w1", Holder: &streams.HolderInfo{Worker: "w1"}}
		if err := l.askHolder(ctx, s, "q", is, []uint64{2}); err != nil || c.Why != is.Why {
			t.Errorf("%v; it says %q", err, c.Why)
		}
	}
}
