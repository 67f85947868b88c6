package streams_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestEditQueue(t *testing.T) {
	for _, storage := range []string{streams.StorageFile, streams.StorageMemory} {
		t.Run(storage, func(t *testing.T) {
			js := natstest.Start(t).JetStream()
			ctx := within(t)
			before := makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = storage })
			first := stream(t, js, "CLAIMS_ci").State.FirstSeq
			publishN(t, js, ci, 10)

			got, diffs, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) {
				p.Lease, p.MaxMsgs, p.MaxBytes, p.MaxAttempts, p.Backoff.Max = 30*time.Second, 4, 1<<20, 9, time.Hour
			})
			if err != nil {
				t.Fatal(err)
			}
			want := before
			want.Lease, want.MaxMsgs, want.MaxBytes, want.MaxAttempts, want.Backoff.Max = 30*time.Second, 4, 1<<20, 9, time.Hour
			if !got.Equal(want) || len(diffs) != 5+3 {
				t.Fatalf("%+v\n%v", got, diffs)
			}
			if l := must[streams.Loaded](t)(streams.LoadQueue(ctx, js, ci)); !l.Policy.Equal(want) {
				t.Fatalf("%+v", l.Policy)
			}
			if created, err := streams.CreateQueue(ctx, js, ci, want); created || err != nil {
				t.Fatal(created, err)
			}
			c, err := js.Consumer(ctx, "TURNS_ci", "workers")
			if err != nil || c.CachedInfo().Config.AckWait != 30*time.Second {
				t.Fatal(err, c)
			}
			waitRunnable(t, js, ci, 10)
			// A limit below what is there refuses more and drops nothing.
			if n := stream(t, js, "JOBS_ci").State.Msgs; n != 10 {
				t.Fatalf("%d jobs are left of 10", n)
			}
			if _, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{}); !errors.Is(err, streams.ErrQueueFull) {
				t.Fatal(err)
			}
			if now := stream(t, js, "CLAIMS_ci"); now.State.FirstSeq != first || now.Config.FirstSeq != first {
				t.Fatalf("fences began at %d and begin at %d now", first, now.State.FirstSeq)
			}
		})
	}
}

func TestEditQueueRefusals(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	p := makeQueue(t, js, ci)
	_, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.Storage = streams.StorageFile })
	if !errors.Is(err, streams.ErrPolicy) || !strings.Contains(err.Error(), "memory and cannot become file") || !strings.Contains(problem.Hint(err), "another name") {
		t.Fatal(err, problem.Hint(err))
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.Lease = 0 }); !errors.Is(err, streams.ErrPolicy) {
		t.Fatal(err)
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.Replicas = 3 }); err == nil || !strings.Contains(problem.Hint(err), "cluster") {
		t.Fatal(err, problem.Hint(err))
	}
	if _, _, err := streams.EditQueue(ctx, js, "none", func(p *streams.Policy) {}); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Fatal(err)
	}
	if created, err := streams.CreateQueue(ctx, js, ci, p); created || err != nil {
		t.Fatalf("a refused edit left something: %v", err)
	}
}

func TestDeleteQueue(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	makeQueue(t, js, "mail")
	publishN(t, js, ci, 3)
	if existed, err := streams.DeleteQueue(ctx, js, ci); !existed || err != nil {
		t.Fatal(existed, err)
	}
	for name := range js.StreamNames(ctx).Name() {
		if strings.Contains(name, "_ci") {
			t.Errorf("%s is left", name)
		}
	}
	if existed, err := streams.DeleteQueue(ctx, js, ci); existed || err != nil {
		t.Fatal(existed, err)
	}
	if _, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{}); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Fatal(err)
	}
	if _, err := streams.LoadQueue(ctx, js, "mail"); err != nil {
		t.Fatal("the other queue suffered:", err)
	}
	// What an interrupted deletion leaves.
	if err := js.DeleteStream(ctx, "JOBS_mail"); err != nil {
		t.Fatal(err)
	}
	if existed, err := streams.DeleteQueue(ctx, js, "mail"); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if _, err := streams.DeleteQueue(ctx, js, "No"); !errors.Is(err, subjects.ErrQueueName) {
		t.Fatal(err)
	}
}

// Fences grow over everything that can happen to a queue: jobs, a removal, a new making, a restart, a whole new store.
func TestFencesGrow(t *testing.T) {
	for _, storage := range []string{streams.StorageFile, streams.StorageMemory} {
		t.Run(storage, func(t *testing.T) {
			var last uint64
			fence := func(js jetstream.JetStream, entity string) {
				t.Helper()
				ack, err := js.Publish(within(t), "claims.ci."+entity, []byte(`{}`))
				if err != nil {
					t.Fatal(err)
				}
				if ack.Sequence <= last || ack.Sequence >= 1<<53 {
					t.Fatalf("fence %d after %d", ack.Sequence, last)
				}
				last = ack.Sequence
			}
			for range 2 {
				s := natstest.Start(t)
				js := s.JetStream()
				for range 3 {
					makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = storage })
					for i := range 50 {
						fence(js, fmt.Sprint("build.", i))
					}
					// An edit on the way makes CLAIMS_ anew when somebody removed it.
					if err := js.DeleteStream(within(t), "CLAIMS_ci"); err != nil {
						t.Fatal(err)
					}
					if _, _, err := streams.EditQueue(within(t), js, ci, func(*streams.Policy) {}); err != nil {
						t.Fatal(err)
					}
					fence(js, "build.1")
					if storage == streams.StorageFile {
						s.Restart()
						js = s.JetStream()
						fence(js, "build.1")
					}
					if _, err := streams.DeleteQueue(within(t), js, ci); err != nil {
						t.Fatal(err)
					}
				}
				s.Stop()
			}
		})
	}
}

// The sequence goes on after all records have expired and the server was killed: nothing that a fence was given out
// under may be given out again.
func TestFencesSurviveExpiryAndSIGKILL(t *testing.T) {
	s := natstest.Process(t)
	js := s.JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.Storage = streams.StorageFile })
	var last uint64
	for round := range 3 {
		for i := range 20 {
			ack, err := js.Publish(within(t), fmt.Sprintf("claims.ci.build.%d", i), []byte(`{}`), jetstream.WithMsgTTL(time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if ack.Sequence <= last {
				t.Fatalf("round %d: fence %d after %d", round, ack.Sequence, last)
			}
			last = ack.Sequence
		}
		for until := time.Now().Add(time.Minute); stream(t, js, "CLAIMS_ci").State.Msgs > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the records do not expire")
			}
		}
		s.Restart() // kills
		js = s.JetStream()
		if state := stream(t, js, "CLAIMS_ci").State; state.LastSeq != last {
			t.Fatalf("round %d: the last sequence was %d and is %d", round, last, state.LastSeq)
		}
	}
}

// No purge empties CLAIMS_ while jobs run.
func TestClaimsCannotBePurged(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	s, err := js.Stream(within(t), "CLAIMS_ci")
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(within(t), "claims.ci.build.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(within(t)); err == nil {
		t.Fatal("purged")
	}
	if was, err := streams.DeleteMessage(within(t), js, "CLAIMS_ci", ack.Sequence); !was || err != nil {
		t.Fatal("a single record cannot be removed:", err)
	}
}
