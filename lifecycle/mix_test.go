package lifecycle_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
)

// Whatever jobs do to their children and callers to their jobs, every run ends once, with a cause that fits, nobody gets
// another's answer, and the pool works afterwards.
func TestAnyMixOfFaultsEnds(t *testing.T) {
	cfg := children(t, "good")
	cfg.Processes, cfg.KillAfter = 3, 5*time.Millisecond
	h := start(t, cfg)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	kinds := []string{
		"echo", "echo", "echo", "echo", "echo", "echo", "fail", "hang", "until cancelled", "kill itself", "garbage", "exit 3",
		"half a frame and exit", "hang up 4", "hang up 3", "twice", "unknown run",
	}
	causes := []error{nil, nil, nil, lifecycle.ErrKillNow, lifecycle.ErrCancel, context.Canceled}
	var all sync.WaitGroup
	gate := make(chan struct{}, 20)
	for i := range 600 {
		j := lifecycle.Job{Kind: kinds[rnd.IntN(len(kinds))], Body: []byte(strconv.Itoa(i))}
		cause, after := causes[rnd.IntN(len(causes))], time.Duration(rnd.IntN(3000))*time.Microsecond
		if cause == nil && (j.Kind == "hang" || j.Kind == "until cancelled") || rnd.IntN(5) == 0 {
			j.Timeout = time.Duration(1+rnd.IntN(3)) * time.Millisecond
		}
		gate <- struct{}{}
		all.Go(func() {
			defer func() { <-gate }()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if cause != nil {
				defer time.AfterFunc(after, func() { cancel(cause) }).Stop()
			}
			r := h.Run(ctx, j)
			bad := !r.GroupEmpty || r.Cause == 0 || (r.Cause == lifecycle.Done) != (r.Err == "")
			bad = bad || (r.Cause == lifecycle.TimedOut && j.Timeout == 0)
			bad = bad || (r.Cause == lifecycle.Failed && j.Kind != "fail")
			bad = bad || (r.Cause == lifecycle.Done && j.Kind == "echo" && string(r.Body) != string(j.Body))
			if bad {
				t.Errorf("%s %s, timeout %v, %v: %+v", j.Kind, j.Body, j.Timeout, cause, r)
			}
		})
	}
	all.Wait()
	// A child that hung up is noticed at the next job at the latest.
	eventually(t, "the pool works", func() bool { return h.run("echo", "").Cause == lifecycle.Done })
	if err := h.Start(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
		t.Error(err)
	}
	h.Stop(t.Context())
	for _, c := range h.Children() {
		if c.PID != 0 || c.Jobs != 0 {
			t.Errorf("left %+v", c)
		}
	}
}

func TestAJobForAChildThatDoesNotListenAnyMoreDidNotStart(t *testing.T) {
	cfg := children(t, "never ready")
	cfg.Command = []string{"sh", "-c", `exec 3<&-; echo '{"ready":true}' >&4; exec sleep 1000`}
	h := start(t, cfg)
	h.want(h.run("echo", ""), lifecycle.NotStarted, "before it read the job")
	if e := h.event(lifecycle.EventExited); !errors.Is(e.Err, lifecycle.ErrHungUp) {
		t.Errorf("the end is told as %v", e.Err)
	}
}
