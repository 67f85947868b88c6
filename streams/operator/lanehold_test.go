package operator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/clock"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/streams/operator"
	"github.com/seriatim/seriatim/worker"
)

func (f fixture) hold(ctx context.Context, raw string) (*operator.Hold, error) {
	return operator.HoldLane(ctx, f.js, ci, entity(f.t, raw), operator.HoldOptions{By: "ann@h1"})
}

func (f fixture) isPaused(raw string) bool {
	f.t.Helper()
	_, paused, err := streams.Paused(f.t.Context(), f.js, ci, entity(f.t, raw))
	if err != nil {
		f.t.Fatal(err)
	}
	return paused
}

func (f fixture) stop(w *worker.Worker) {
	f.t.Helper()
	if err := w.Stop(f.t.Context()); err != nil {
		f.t.Error(err)
	}
}

// Jobs that come while an empty lane is held wait until it is released.
func TestHoldsAnEmptyLane(t *testing.T) {
	f := newFixture(t)
	ran := make(chan uint64, 8)
	w := f.work(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error { ran <- j.Seq; return nil })
	h, err := f.hold(t.Context(), "build.1")
	if err != nil {
		t.Fatal(err)
	}
	if h.Fence() == 0 || h.Until() <= clock.Boot() {
		t.Errorf("fence %d until %s at %s", h.Fence(), h.Until(), clock.Boot())
	}
	f.publish("build.1", 1)
	f.publish("build.2", 1)
	if got := <-ran; got != 2 {
		t.Fatalf("job %d ran in a lane that is held", got)
	}
	if l, err := streams.GetLane(t.Context(), f.js, ci, entity(t, "build.1")); err != nil || l.State != streams.LaneHeld {
		t.Errorf("%+v %v", l, err)
	}
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-ran; got != 1 {
		t.Errorf("job %d ran", got)
	}
	f.stop(w)
}

// pauses are the lines in which a worker tells what it has heard of pauses.
type pauses chan string

func (p pauses) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "pauses are known") {
		p <- string(line)
	}
	return len(line), nil
}

// heard waits until the worker knows of as many paused lanes: it hears of a pause a moment later, and starts one more job
// until then. It tells when it hears that the queue is paused, and of pauses it hears in order.
func (f fixture) heard(told pauses, lanes int) {
	f.t.Helper()
	if _, _, err := streams.PauseQueue(f.t.Context(), f.js, ci, streams.PauseOptions{}); err != nil {
		f.t.Fatal(err)
	}
	f.told(told, true, lanes)
	if _, err := streams.ResumeQueue(f.t.Context(), f.js, ci); err != nil {
		f.t.Fatal(err)
	}
	f.told(told, false, lanes)
}

func (f fixture) told(told pauses, queue bool, lanes int) {
	f.t.Helper()
	want := fmt.Sprintf(`"paused":%v,"paused_lanes":%d,`, queue, lanes)
	for bound := time.After(time.Minute); ; {
		select {
		case line := <-told:
			if strings.Contains(line, want) {
				return
			}
		case <-bound:
			f.t.Fatalf("the worker does not hear of the pause: %s", want)
		}
	}
}

// The job that runs is waited for; the one behind it is not started before the release. No pause is left.
func TestHoldWaitsForTheRunningJob(t *testing.T) {
	f := newFixture(t)
	started, finish := make(chan uint64, 8), make(chan struct{})
	told := make(pauses, 100)
	log := zerolog.New(told)
	w := f.workTelling(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error {
		started <- j.Seq
		<-finish
		return nil
	}, &log)
	f.publish("build.1", 3)
	<-started
	short, cancel := context.WithCancel(t.Context())
	defer cancel()
	given := make(chan error)
	go func() {
		_, err := f.hold(short, "build.1")
		given <- err
	}()
	for !f.isPaused("build.1") { // which it is from the first refusal on
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-given; !errors.Is(err, operator.ErrBusy) {
		t.Fatal(err)
	}
	if f.isPaused("build.1") {
		t.Error("a hold that was given up left a pause behind")
	}
	got := make(chan *operator.Hold)
	go func() {
		h, err := f.hold(t.Context(), "build.1")
		if err != nil {
			t.Error(err)
		}
		got <- h
	}()
	for !f.isPaused("build.1") {
		time.Sleep(5 * time.Millisecond)
	}
	f.heard(told, 1)
	finish <- struct{}{}
	h := <-got
	if h == nil {
		t.FailNow()
	}
	if f.isPaused("build.1") {
		t.Error("it is still paused")
	}
	f.publish("build.2", 1)
	if seq := <-started; seq != 4 {
		t.Errorf("job %d was started in a lane that is held", seq)
	}
	close(finish)
	if err := h.Release(t.Context()); err != nil {
		t.Error(err)
	}
	for want := uint64(2); want <= 3; want++ {
		if seq := <-started; seq != want {
			t.Errorf("job %d, not %d", seq, want)
		}
	}
	f.stop(w)
}

// A lane of many short jobs is got between two of them, every time, and nothing runs while it is held.
func TestHoldIsNotStarved(t *testing.T) {
	f := newFixture(t)
	const jobs = 3000
	var held atomic.Bool
	var beside, done atomic.Int64
	all := make(chan struct{})
	w := f.work(f.nc.ConnectedUrl(), func(context.Context, *worker.Job) error {
		if held.Load() {
			beside.Add(1)
		}
		if done.Add(1) == jobs {
			close(all)
		}
		return nil
	})
	f.publish("build.1", jobs)
	for range 5 {
		h, err := f.hold(t.Context(), "build.1")
		if err != nil {
			t.Fatal(err)
		}
		held.Store(true)
		time.Sleep(20 * time.Millisecond)
		held.Store(false)
		if err := h.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-all
	if n := beside.Load(); n != 0 {
		t.Errorf("%d jobs ran beside a hold", n)
	}
	f.stop(w)
}

// A pause of an operator is neither in the way of a hold nor ended by it.
func TestHoldOfAPausedLane(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 1)
	if _, _, err := streams.PauseLane(t.Context(), f.js, ci, entity(t, "build.1"), streams.PauseOptions{By: "bob"}); err != nil {
		t.Fatal(err)
	}
	h, err := f.hold(t.Context(), "build.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.RemoveJobs(t.Context(), f.js, ci, entity(t, "build.1"), nil); err != nil {
		t.Error(err)
	}
	if n := f.messages(ci.JobsStream()); n != 1 {
		t.Errorf("a job of a held lane was removed")
	}
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !f.isPaused("build.1") {
		t.Error("the pause is gone")
	}
}

// Who finds its claim replaced does not believe in its hold any more.
func TestAHoldThatIsLost(t *testing.T) {
	f := newFixture(t)
	h, err := f.hold(t.Context(), "build.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.js.Publish(t.Context(), "claims.ci.build.1", lane.Record{State: lane.Running, Session: "other"}.Encode()); err != nil {
		t.Fatal(err)
	}
	for h.Until() != 0 {
		time.Sleep(50 * time.Millisecond)
	}
	if err := h.Release(t.Context()); err != nil {
		t.Error(err)
	}
	m, err := streams.LastMessage(t.Context(), f.js, ci.ClaimsStream(), "claims.ci.build.1")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := lane.DecodeRecord(m.Seq, m.Data); err != nil || r.Session != "other" {
		t.Errorf("%+v %v", r, err)
	}
}

// halt makes a lane stand still with one dead job in front and another one behind, as a worker leaves it.
func (f fixture) halt(raw string) {
	f.t.Helper()
	f.publish(raw, 2)
	loaded, err := streams.LoadQueue(f.t.Context(), f.js, ci)
	if err != nil {
		f.t.Fatal(err)
	}
	r := lane.Record{
		State: lane.Halted, Session: "s", Job: 1, Created: loaded.Created.UnixNano(), Attempt: 5, Counts: lane.Counts{Attempts: 5},
		Cause: "failed", Error: "disk full", Tries: []lane.Try{{Worker: "s", Fence: 7, Cause: "failed"}},
	}
	if _, err := f.js.Publish(f.t.Context(), ci.ClaimSubject(entity(f.t, raw)), r.Encode()); err != nil {
		f.t.Fatal(err)
	}
	for {
		m, err := streams.LastMessage(f.t.Context(), f.js, ci.TurnsStream(), ci.TurnSubject(entity(f.t, raw)))
		if err == nil {
			_, err = streams.DeleteMessage(f.t.Context(), f.js, ci.TurnsStream(), m.Seq)
			if err != nil {
				f.t.Fatal(err)
			}
			return
		}
		time.Sleep(5 * time.Millisecond) // it is republished in the server's own time
	}
}

func TestReleaseOfAHaltedLane(t *testing.T) {
	for _, bury := range []bool{false, true} {
		f := newFixture(t)
		f.halt("build.1")
		if l, err := streams.GetLane(t.Context(), f.js, ci, entity(t, "build.1")); err != nil || l.State != streams.LaneHalted {
			t.Errorf("%+v %v", l, err)
		}
		r, err := operator.ReleaseHalted(t.Context(), f.js, ci, entity(t, "build.1"), bury)
		if err != nil || r.Job != 1 || r.Cause != "failed" || r.Error != "disk full" {
			t.Fatalf("%+v %v", r, err)
		}
		type run struct {
			seq     uint64
			attempt int
		}
		ran := make(chan run, 8)
		w := f.work(f.nc.ConnectedUrl(), func(_ context.Context, j *worker.Job) error { ran <- run{j.Seq, j.Attempt}; return nil })
		want := []run{{1, 1}, {2, 1}}
		if bury {
			want = want[1:]
		}
		for _, want := range want {
			if got := <-ran; got != want {
				t.Errorf("bury %v: %+v, want %+v", bury, got, want)
			}
		}
		f.stop(w)
		dead, err := streams.ListDead(t.Context(), f.js, ci, streams.DeadFilter{})
		if err != nil {
			t.Fatal(err)
		}
		if !bury && len(dead) != 0 || bury && (len(dead) != 1 || dead[0].Error != "disk full" || dead[0].Attempts != 5) {
			t.Errorf("bury %v: the dead are %+v", bury, dead)
		}
	}
}

func TestReleaseOfALaneThatIsNotHalted(t *testing.T) {
	f := newFixture(t)
	f.publish("build.1", 1)
	for _, raw := range []string{"build.1", "build.2"} {
		if _, err := operator.ReleaseHalted(t.Context(), f.js, ci, entity(t, raw), false); !errors.Is(err, operator.ErrNotHalted) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if n := f.messages(ci.ClaimsStream()); n != 0 {
		t.Errorf("%d claims were written", n)
	}
	if _, err := operator.ReleaseHalted(t.Context(), f.js, "none", entity(t, "build.1"), false); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Error(err)
	}
}
