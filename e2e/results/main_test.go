// Package results follows jobs to their end from outside: the result of a child reaches who waits for it, progress on the
// way, the record in the history, and the end of the log; and what a history costs.
package results

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/lifecycle/frames"
	"github.com/seriatim/seriatim/streams"
)

// The test binary is also a child of a pool.
const actAs = "RESULTS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(actAs) != "" {
		fleet.ServeFrames(1, act)
		return
	}
	rig.Main(m)
}

// act is a child with frames, which does what a job's kind says.
func act(o frames.Order, send func([]byte)) {
	fmt.Printf("log of %s, attempt %d\n", o.Job.ID, o.Job.Attempt)
	switch o.Job.Kind {
	case "upper":
		send(frames.AppendDone(nil, o.Run, append([]byte("you said "), o.Job.Body...)))
	case "bytes":
		send(frames.AppendDone(nil, o.Run, []byte{0, 0xff, '\n'}))
	case "progress":
		for at := range 3 {
			send(frames.AppendProgress(nil, o.Run, float64(at+1), 3, "step "+strconv.Itoa(at+1)))
			time.Sleep(150 * time.Millisecond)
		}
		send(frames.AppendDone(nil, o.Run, []byte("stepped")))
	case "flaky":
		if o.Job.Attempt < 3 {
			send(frames.AppendFail(nil, o.Run, "not yet", true, 0))
			return
		}
		send(frames.AppendDone(nil, o.Run, []byte("at last")))
	case "bad":
		send(frames.AppendFail(nil, o.Run, "no such file", false, 0))
	case "hold": // until it is cancelled
	default:
		send(frames.AppendDone(nil, o.Run, nil))
	}
}

// pool is a pool of such children.
func pool(t testing.TB) fleet.Pool {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fleet.Pool{Name: "results", Kinds: []string{"*"}, Mode: "pool", Command: []string{exe}, Processes: 2, Env: map[string]string{actAs: "1"}}
}

// waited is what `job publish --wait --json` prints.
type waited struct {
	streams.Reply
	Duplicate bool `json:"duplicate"`
}

func read[T any](t testing.TB, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}
