package streams_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

// A server moves the files of a removed stream aside and forgets them in its own time. Remove a stream of that name
// again meanwhile, and they stay where they are: the next stream of that name finds them and takes them for its own. So
// a queue that is removed and made anew, round after round, must be looked at before anybody may use it.
func TestAQueueMadeAnewIsEmpty(t *testing.T) {
	js := natstest.Start(t).JetStream()
	back := 0
	for range 40 {
		ctx := within(t)
		makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = streams.StorageFile })
		for _, name := range []string{"JOBS_ci", "TURNS_ci", "CLAIMS_ci", "DEAD_ci", "SCHEDULE_ci", "KV_LANES_ci"} {
			if state := stream(t, js, name).State; state.Msgs > 0 || name != "CLAIMS_ci" && state.LastSeq > 0 {
				t.Errorf("%s has %d messages, and its last sequence is %d", name, state.Msgs, state.LastSeq)
				back++
			}
		}
		if back > 5 {
			t.Fatal("and so on")
		}
		for i := range 20 {
			for _, prefix := range []string{"jobs", "claims", "dead"} {
				if _, err := js.Publish(ctx, fmt.Sprintf("%s.ci.build.%d", prefix, i), []byte("of a former life")); err != nil {
					t.Fatal(err)
				}
			}
		}
		waitTurns(t, js, ci, 20)
		// A consumer remembers what it has seen, and what comes back below that would never be delivered.
		turns, err := js.Consumer(ctx, "TURNS_ci", "workers")
		if err != nil {
			t.Fatal(err)
		}
		batch, err := turns.Fetch(20, jetstream.FetchMaxWait(streams.RequestTimeout))
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for m := range batch.Messages() {
			if err := m.DoubleAck(ctx); err != nil {
				t.Fatal(err)
			}
			got++
		}
		if got != 20 {
			t.Fatalf("%d of 20 turns were delivered", got)
		}
		if existed, err := streams.DeleteQueue(ctx, js, ci); !existed || err != nil {
			t.Fatal(existed, err)
		}
	}
}

// A server that has lost a fight with its own files brings the same ones back each time. Then there is no queue, rather
// than one that runs finished jobs again; and when the files are gone there is one.
func TestAQueueIsNotMadeOfLeftovers(t *testing.T) {
	s := natstest.Start(t)
	js := s.JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = streams.StorageFile })
	publishN(t, js, ci, 3)

	// What the server moves a removed stream's files to is taken, so they stay.
	taken := filepath.Join(s.Dir(), "jetstream", "$G", "streams", ".JOBS_ci")
	if err := os.MkdirAll(filepath.Join(taken, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if existed, err := streams.DeleteQueue(ctx, js, ci); !existed || err != nil {
		t.Fatal(existed, err)
	}
	created, err := streams.CreateQueue(ctx, js, ci, p)
	if created || !errors.Is(err, streams.ErrLeftovers) || !strings.Contains(err.Error(), "JOBS_ci") || !strings.Contains(problem.Hint(err), "restart the server") {
		t.Fatalf("created %v: %v\n%s", created, err, problem.Hint(err))
	}
	if _, err := streams.LoadQueue(ctx, js, ci); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(taken); err != nil {
		t.Fatal(err)
	}
	if created, err := streams.CreateQueue(ctx, js, ci, p); !created || err != nil {
		t.Fatal(created, err)
	}
	if state := stream(t, js, "JOBS_ci").State; state.LastSeq != 0 {
		t.Fatalf("it begins with %+v", state)
	}
	publishN(t, js, ci, 3)
}

// A making that was cut off between a stream and its subjects is nothing yet, and the next making completes it.
func TestAClosedStreamIsNoQueueYet(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	for _, name := range []string{"JOBS_ci", "TURNS_ci"} {
		cfg := stream(t, js, name).Config
		if err := js.DeleteStream(ctx, name); err != nil {
			t.Fatal(err)
		}
		cfg.Subjects, cfg.RePublish, cfg.Metadata = []string{"_SERIATIM.closed." + name}, nil, nil
		if _, err := js.CreateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]func() error{
		"load": func() error { _, err := streams.LoadQueue(ctx, js, ci); return err },
		"info": func() error { _, err := streams.QueueInfo(ctx, js, ci); return err },
	} {
		if err := call(); !errors.Is(err, streams.ErrUnknownQueue) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if created, err := streams.CreateQueue(ctx, js, ci, p); !created || err != nil {
		t.Fatal(created, err)
	}
	publishN(t, js, ci, 2)
	if info := waitRunnable(t, js, ci, 2); len(info.Drift) > 0 {
		t.Fatalf("%+v", info)
	}
}

// Several makers at once make one queue, and what is published into it at once stays.
func TestManyMakersMakeOneQueue(t *testing.T) {
	s := natstest.Start(t)
	js := s.JetStream()
	p := streams.DefaultPolicy()
	for round := range 8 {
		ctx := within(t)
		var done sync.WaitGroup
		for range 4 {
			own := s.JetStream()
			done.Go(func() {
				if _, err := streams.CreateQueue(ctx, own, ci, p); err != nil {
					t.Error(err)
					return
				}
				if _, _, err := streams.Publish(ctx, own.Conn(), ci, entity(t, "build.1"), streams.PublishOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		if i := stream(t, js, "JOBS_ci"); i.State.LastSeq != 4 || i.State.Msgs != 4 {
			t.Fatalf("round %d: 4 jobs were published to a queue of %s, and there are %+v", round, i.Created, i.State)
		}
		if _, err := streams.DeleteQueue(ctx, js, ci); err != nil {
			t.Fatal(err)
		}
	}
}
