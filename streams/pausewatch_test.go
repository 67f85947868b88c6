package streams_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// watching collects what a watch tells.
type watching struct {
	t    *testing.T
	told chan streams.PausedChange
}

func watch(t *testing.T, js jetstream.JetStream) watching {
	t.Helper()
	w := watching{t, make(chan streams.PausedChange, 1000)}
	p, err := streams.WatchPaused(within(t), js, ci, func(c streams.PausedChange) { w.told <- c })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(); p.Stop() })
	return w
}

// next is the next thing told, in a word.
func (w watching) next() string {
	w.t.Helper()
	select {
	case c := <-w.told:
		switch {
		case c.Complete:
			return "complete"
		case c.Queue && c.Paused:
			return "+queue"
		case c.Queue:
			return "-queue"
		case c.Paused:
			return "+" + c.Entity.String()
		}
		return "-" + c.Entity.String()
	case <-time.After(time.Minute):
		w.t.Fatal("nothing is told")
	}
	return ""
}

func (w watching) wants(want ...string) {
	w.t.Helper()
	for _, s := range want {
		if got := w.next(); got != s {
			w.t.Fatalf("told %s, not %s", got, s)
		}
	}
}

func TestWatchPaused(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	ctx := within(t)
	empty := watch(t, js)
	empty.wants("complete")

	one, two := entity(t, "build.1"), entity(t, "build.2")
	do := func(e subjects.Entity, o streams.PauseOptions) {
		t.Helper()
		if _, _, err := streams.PauseLane(ctx, js, ci, e, o); err != nil {
			t.Fatal(err)
		}
	}
	// Each is waited for: what is over before it was told is never told.
	do(one, streams.PauseOptions{})
	do(two, streams.PauseOptions{})
	empty.wants("+build.1", "+build.2")
	if _, _, err := streams.PauseQueue(ctx, js, ci, streams.PauseOptions{}); err != nil {
		t.Fatal(err)
	}
	empty.wants("+queue")
	if _, err := streams.ResumeLane(ctx, js, ci, two); err != nil {
		t.Fatal(err)
	}
	empty.wants("-build.2")
	for _, subject := range []string{"$KV.LANES_ci.nodot", "$KV.LANES_ci.build.=zz"} { // no lanes
		if _, err := js.Publish(ctx, subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.Publish(ctx, "$KV.LANES_ci.build.3", []byte("by hand")); err != nil {
		t.Fatal(err)
	}
	empty.wants("+build.3")
	if _, err := streams.ResumeQueue(ctx, js, ci); err != nil {
		t.Fatal(err)
	}
	empty.wants("-queue")

	late := watch(t, js)
	late.wants("+build.1", "+build.3", "complete")
	o := streams.PauseOptions{For: time.Minute}
	r, _, err := streams.PauseLane(ctx, js, ci, two, o)
	if err != nil {
		t.Fatal(err)
	}
	all := []watching{empty, late}
	for _, w := range all {
		w.wants("+build.2")
	}
	o.For = time.Second // whether that is told too, before it is over, is a matter of time
	if _, err := streams.ExtendPause(ctx, js, ci, two, r, o); err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		got := w.next()
		if got == "+build.2" {
			got = w.next()
		}
		if got != "-build.2" {
			t.Fatalf("told %s, not the end", got)
		}
	}
}

// watchTwo is a watch of a queue of which two lanes are paused, on a connection that goes with the server and comes back.
func watchTwo(t *testing.T) (*natstest.Server, jetstream.JetStream, watching) {
	t.Helper()
	s := natstest.Start(t)
	js := s.JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = streams.StorageFile })
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, raw := range []string{"build.1", "build.2"} {
		if _, _, err := streams.PauseLane(within(t), js, ci, entity(t, raw), streams.PauseOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := watch(t, must[jetstream.JetStream](t)(jetstream.New(nc)))
	w.wants("+build.1", "+build.2", "complete")
	return s, js, w
}

// What changed while the connection was down is told when it is back, and what did not is not told twice.
func TestWatchPausedSurvivesTheServer(t *testing.T) {
	s, js, w := watchTwo(t)
	ctx := within(t)
	for range 3 {
		s.Restart()
		retried(ctx, t, func(ctx context.Context) error {
			_, err := streams.ResumeLane(ctx, js, ci, entity(t, "build.2"))
			return err
		})
		// Told once; a watch that is made anew on the way finds it as it is.
		w.wants("-build.2")
		retried(ctx, t, func(ctx context.Context) error {
			_, _, err := streams.PauseLane(ctx, js, ci, entity(t, "build.2"), streams.PauseOptions{})
			return err
		})
		w.wants("+build.2")
	}
	select {
	case c := <-w.told:
		t.Fatalf("told %+v", c)
	default:
	}
}

// retried repeats a request until it is answered: one that was on its way when the server went is lost.
func retried(ctx context.Context, t *testing.T, do func(context.Context) error) {
	t.Helper()
	for {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := do(short)
		cancel()
		if err == nil {
			return
		}
		if streams.Pause(ctx, 50*time.Millisecond) != nil {
			t.Fatal(err)
		}
	}
}

// A key whose removal nobody told, because its bucket was made anew, is told as over.
func TestWatchPausedFindsWhatVanished(t *testing.T) {
	s, js, w := watchTwo(t)
	ctx := within(t)
	st, err := js.Stream(ctx, "KV_LANES_ci")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(ctx); err != nil { // leaves no word
		t.Fatal(err)
	}
	s.Restart()
	got := []string{w.next(), w.next()}
	slices.Sort(got)
	if !slices.Equal(got, []string{"-build.1", "-build.2"}) {
		t.Fatal(got)
	}
}
