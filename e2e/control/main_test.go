// Package control shows what operators do to lanes, jobs and workers that live: pause, hold, release, cancel, quiet, stop,
// and what lane why says meanwhile. Real binaries, real processes, and a witness of who ran when.
package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
)

func TestMain(m *testing.M) { rig.Main(m) }

// desk is a system and the operator's desk before it.
type desk struct {
	*rig.Rig
	t *testing.T
}

func newDesk(t *testing.T, flags ...string) desk {
	t.Helper()
	return desk{rig.New(t, flags...), t}
}

// why asks why a lane does not move.
func (d desk) why(entity string) (l streams.LaneInfo) {
	d.t.Helper()
	if err := d.Admin.JSON(d.t.Context(), &l, "lane", "why", rig.Queue, entity); err != nil {
		d.t.Fatal(err)
	}
	return l
}

// becomes waits until a lane is in a state, and its sentence says something.
func (d desk) becomes(entity string, state streams.LaneState, says string) streams.LaneInfo {
	d.t.Helper()
	var l streams.LaneInfo
	d.until(entity+" is "+string(state)+": "+says, func() bool {
		l = d.why(entity)
		return l.State == state && strings.Contains(l.Why, says)
	}, func() string { return string(l.State) + ": " + l.Why })
	d.t.Logf("%s: %s", l.State, l.Why)
	return l
}

// until waits for something that a command shows.
func (d desk) until(what string, so func() bool, is func() string) {
	d.t.Helper()
	for end := time.Now().Add(rig.Bound); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("never: %s; it is %s", what, is())
		}
	}
}

// knowPause waits until workers that tell of all that they do know that a lane is paused; an empty entity is the whole queue.
// The store has a pause before they do, and one that is learnt late costs a start too many.
func (d desk) knowPause(entity string, hosts ...*rig.Host) {
	d.t.Helper()
	message := "the pause of a lane is known"
	if entity == "" {
		message = "pauses are known"
	}
	for _, h := range hosts {
		d.until(h.Name+" knows the pause", func() bool {
			said, err := fleet.Said(h.Proc.Log, func(l fleet.LogLine) bool { return l.Message == message && l.Entity == entity && l.Paused })
			return err == nil && said
		}, func() string { return "not told" })
	}
}

// awaitRun waits until a job runs.
func (d desk) awaitRun(entity string) record.Event {
	d.t.Helper()
	var run record.Event
	d.Await("a job of "+entity+" runs", rig.Bound, func(tail *fleet.Tail) bool {
		for _, e := range tail.Open() {
			if e.Entity == entity {
				run = e
				return true
			}
		}
		return false
	})
	return run
}

// background is a command that goes on while the test does something.
type background struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	errs bytes.Buffer
	done chan error
}

func (d desk) start(env []string, args ...string) *background {
	d.t.Helper()
	b := &background{t: d.t, cmd: exec.Command(d.Admin.Binary, args...), done: make(chan error, 1)}
	b.cmd.Env = append(append(os.Environ(), fleet.Mark+"="+d.Dir, "NATS_URL="+d.URL(), "NATS_CONTEXT=", "NATS_TIMEOUT=30s"), env...)
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.errs
	if err := b.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { b.done <- b.cmd.Wait() }()
	d.t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // it has ended, or is in the way
	})
	return b
}

// ends waits for its end and returns its exit code, -1 for a signal.
func (b *background) ends() int {
	b.t.Helper()
	select {
	case err := <-b.done:
		var exit *exec.ExitError
		switch {
		case err == nil:
			return 0
		case errors.As(err, &exit):
			return exit.ExitCode()
		}
		b.t.Fatal(err)
	case <-time.After(rig.Bound):
		b.t.Fatalf("%v does not end: %s", b.cmd.Args, b.errs.String())
	}
	return 0
}

// fails runs a command that must fail, and returns what it prints on standard output.
func (d desk) fails(args ...string) (code int, out string) {
	d.t.Helper()
	b := d.start(nil, args...)
	code = b.ends()
	if code == 0 {
		d.t.Fatalf("%v did not fail: %s", args, b.out.String())
	}
	return code, b.out.String() + b.errs.String()
}

// info is how the queue is.
func (d desk) info() streams.Info {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), rig.Bound)
	defer cancel()
	i, err := d.Admin.QueueInfo(ctx, rig.Queue)
	if err != nil {
		d.t.Fatal(err)
	}
	return i
}

// ask runs a command and reads its JSON.
func ask[T any](d desk, args ...string) (v T) {
	d.t.Helper()
	if err := json.Unmarshal(d.Coordinator(append(args, "--json")...), &v); err != nil {
		d.t.Fatal(err)
	}
	return v
}

// starts are how many runs of an entity have begun.
func (d desk) starts(entity string) (n int) {
	d.t.Helper()
	log, err := record.ReadFiles(d.Path("record"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range log.Events {
		if e.What == record.Start && e.Entity == entity {
			n++
		}
	}
	return n
}

// sorted is events in the order of their times.
func sorted(events []record.Event) []record.Event {
	slices.SortStableFunc(events, func(a, b record.Event) int { return cmp.Compare(a.T, b.T) })
	return events
}
