package fleet

import (
	"os"

	"github.com/seriatim/seriatim/lifecycle/frames"
)

// ServeFrames makes a test binary a child of a pool: it says that it is ready for so many jobs at once and gives each to do,
// one after the other, until it is told to stop or its parent is gone. do answers with frames, or with none to stay busy; it
// hears of no cancel.
func ServeFrames(slots int, do func(o frames.Order, send func(frame []byte))) {
	answers := os.NewFile(4, "answers")
	send := func(b []byte) { _, _ = answers.Write(b) }
	send(frames.AppendReady(nil, slots))
	orders := frames.NewReader(os.NewFile(3, "orders"), frames.Limits{})
	for {
		o, err := orders.Order()
		if err != nil || o.Kind == frames.OrderStop {
			return
		}
		if o.Kind == frames.OrderRun {
			do(o, send)
		}
	}
}
