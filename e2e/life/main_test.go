// Package life looks at the life and death of a workerd from outside: signals and what they lead to, the commands quiet,
// stop and status, the probes in every state, the service manager, alerts, and a configuration that changes. The tests
// are named after the scenarios that they show; long times are shortened.
package life

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

// The test binary is also a child of a pool: with this variable it behaves in the way that it names.
const actAs = "LIFE_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(actAs); role != "" {
		act(role)
		return
	}
	rig.Main(m)
}

// act is a child with frames. It writes its pid and mark down when it is ready, and does each job at once.
func act(role string) {
	if role == "exit at boot" {
		fmt.Fprintln(os.Stderr, "no database")
		os.Exit(3)
	}
	note("ready %s %d", os.Getenv("MARK"), os.Getpid())
	fleet.ServeFrames(4, func(o frames.Order, send func([]byte)) {
		note("ran %s %s", os.Getenv("MARK"), o.Job.Entity)
		send(frames.AppendProgress(nil, o.Run, 1, 2, "half"))
		switch string(o.Job.Body) {
		case "hog":
			hoard = make([]byte, 200<<20)
			for i := range hoard {
				hoard[i] = 1
			}
		case "hold": // until it is ended
		default:
			time.Sleep(5 * time.Millisecond)
			send(frames.AppendDone(nil, o.Run, nil))
		}
	})
}

// hoard is memory that is kept.
var hoard []byte

// note appends a line to the record.
func note(format string, args ...any) {
	f, err := os.OpenFile(os.Getenv("RECORD"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}
