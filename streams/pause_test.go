package streams_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestPauseAndResumeOfALane(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx := within(t)
	odd := entity(t, "file.server/ä b=c.go")
	for _, e := range []subjects.Entity{entity(t, "build.1"), odd} {
		if _, paused, err := streams.Paused(ctx, js, ci, e); err != nil || paused {
			t.Fatal(paused, err)
		}
		made, first, err := second(streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{By: "ann@h1", Reason: "disk\nfull"}))
		if err != nil || !first {
			t.Fatal(first, err)
		}
		// Paused already: what stands is shown, and stays.
		again, first, err := second(streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{By: "bob@h2"}))
		if err != nil || first || again.By != "ann@h1" || again.Reason != "disk full" || again.Seq != made.Seq {
			t.Fatalf("%+v %v %v", again, first, err)
		}
		r, paused, err := streams.Paused(ctx, js, ci, e)
		if err != nil || !paused || r.By != "ann@h1" || r.At.IsZero() || !r.Until.IsZero() {
			t.Fatalf("%+v %v %v", r, paused, err)
		}
	}
	if _, first, err := streams.PauseQueue(ctx, js, ci, streams.PauseOptions{By: "ann@h1"}); err != nil || !first {
		t.Fatal(first, err)
	}
	if _, err := js.Publish(ctx, "$KV.LANES_ci.=limits.kind:x", nil); err != nil { // no lane's
		t.Fatal(err)
	}
	list, err := streams.ListPaused(ctx, js, ci)
	if err != nil || len(list) != 3 || !list[0].IsQueue() || list[1].Entity != "build.1" || list[2].Entity != odd.String() {
		t.Fatalf("%+v %v", list, err)
	}
	if i, err := streams.QueueInfo(ctx, js, ci); err != nil || !i.Paused || i.PausedLanes != 2 {
		t.Fatalf("%+v %v", i, err)
	}
	for _, e := range []subjects.Entity{entity(t, "build.1"), odd} {
		for _, want := range []bool{true, false} {
			if was, err := streams.ResumeLane(ctx, js, ci, e); err != nil || was != want {
				t.Fatal(was, err)
			}
		}
		if _, paused, err := streams.Paused(ctx, js, ci, e); err != nil || paused {
			t.Fatal(paused, err)
		}
	}
	for _, want := range []bool{true, false} {
		if was, err := streams.ResumeQueue(ctx, js, ci); err != nil || was != want {
			t.Fatal(was, err)
		}
	}
	if _, paused, err := streams.PausedQueue(ctx, js, ci); err != nil || paused {
		t.Fatal(paused, err)
	}
	if list, err := streams.ListPaused(ctx, js, ci); err != nil || len(list) != 0 {
		t.Fatalf("%+v %v", list, err)
	}
	// And again: the words of old ends are in nobody's way.
	if _, first, err := streams.PauseLane(ctx, js, ci, odd, streams.PauseOptions{}); err != nil || !first {
		t.Fatal(first, err)
	}
}

func second[A, B any](a A, b B, err error) (A, B, error) { return a, b, err }

// A lane that is resumed has a turn, whether it had lost it or not; an empty one has none.
func TestResumeGivesATurn(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx := within(t)
	full, empty := entity(t, "build.1"), entity(t, "build.2")
	if _, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	waitTurns(t, js, ci, 1)
	for _, lose := range []bool{false, true} {
		if lose {
			seq, err := lastOf(t, js, "TURNS_ci", "turns.ci.build.1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := streams.DeleteMessage(ctx, js, "TURNS_ci", seq); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range []subjects.Entity{full, empty} {
			if _, _, err := streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{}); err != nil {
				t.Fatal(err)
			}
			if was, err := streams.ResumeLane(ctx, js, ci, e); err != nil || !was {
				t.Fatal(was, err)
			}
		}
		if n := stream(t, js, "TURNS_ci").State.Msgs; n != 1 {
			t.Fatalf("%d turns", n)
		}
	}
}

func TestAPauseOfWhatIsNotThere(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx, e := within(t), entity(t, "build.1")
	for what, f := range map[string]func() error{
		"pause":   func() error { _, _, err := streams.PauseLane(ctx, js, "none", e, streams.PauseOptions{}); return err },
		"resume":  func() error { _, err := streams.ResumeLane(ctx, js, "none", e); return err },
		"queue":   func() error { _, _, err := streams.PauseQueue(ctx, js, "none", streams.PauseOptions{}); return err },
		"unqueue": func() error { _, err := streams.ResumeQueue(ctx, js, "none"); return err },
		"list":    func() error { _, err := streams.ListPaused(ctx, js, "none"); return err },
		"read":    func() error { _, _, err := streams.Paused(ctx, js, "none", e); return err },
		"watch":   func() error { _, err := streams.WatchPaused(ctx, js, "none", nil); return err },
	} {
		if err := f(); !errors.Is(err, streams.ErrUnknownQueue) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A pause that ends after the server's time would be over at once.
func TestAPauseOfCenturies(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx := within(t)
	for d, fits := range map[time.Duration]bool{streams.MaxPause: true, streams.MaxPause + 1: false, math.MaxInt64: false} {
		e := entity(t, "build."+d.String())
		_, _, err := streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{For: d})
		if fits && err != nil || !fits && !errors.Is(err, streams.ErrOption) {
			t.Errorf("%s: %v", d, err)
		}
		if _, paused, err := streams.Paused(ctx, js, ci, e); paused != fits || err != nil {
			t.Errorf("%s: paused %v, %v", d, paused, err)
		}
	}
}

// A bucket of an older version takes pauses, but none that end by themselves.
func TestABoundedPauseNeedsANewerBucket(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx, e := within(t), entity(t, "build.1")
	if err := js.DeleteStream(ctx, "KV_LANES_ci"); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "LANES_ci", Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{For: time.Minute}); !errors.Is(err, streams.ErrPauseTTL) {
		t.Fatal(err)
	}
	if _, made, err := streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{}); err != nil || !made {
		t.Fatal(made, err)
	}
	if was, err := streams.ResumeLane(ctx, js, ci, e); err != nil || !was {
		t.Fatal(was, err)
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(*streams.Policy) {}); err != nil {
		t.Fatal(err)
	}
	r, made, err := streams.PauseLane(ctx, js, ci, e, streams.PauseOptions{For: time.Minute})
	if err != nil || !made || r.Until.IsZero() {
		t.Fatalf("%+v %v %v", r, made, err)
	}
}

// Only the very pause that was made is extended and ended.
func TestAPauseOfOnesOwn(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx, e := within(t), entity(t, "build.1")
	o := streams.PauseOptions{By: "hold", For: time.Minute}
	mine, _, err := streams.PauseLane(ctx, js, ci, e, o)
	if err != nil {
		t.Fatal(err)
	}
	longer, err := streams.ExtendPause(ctx, js, ci, e, mine, o)
	if err != nil || longer.Seq == mine.Seq {
		t.Fatalf("%+v %v", longer, err)
	}
	if _, err := streams.ExtendPause(ctx, js, ci, e, mine, o); !streams.IsWrongLast(err) {
		t.Fatal(err)
	}
	if err := streams.EndPause(ctx, js, ci, e, mine); err != nil {
		t.Fatal(err)
	}
	if _, paused, _ := streams.Paused(ctx, js, ci, e); !paused {
		t.Fatal("somebody else's pause was ended")
	}
	if err := streams.EndPause(ctx, js, ci, e, longer); err != nil {
		t.Fatal(err)
	}
	if _, paused, _ := streams.Paused(ctx, js, ci, e); paused {
		t.Fatal("it still stands")
	}
}
