package streams_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func entity(t testing.TB, raw string) subjects.Entity {
	t.Helper()
	return must[subjects.Entity](t)(subjects.ParseEntity(raw))
}

func publish(t testing.TB, js jetstream.JetStream, q subjects.Queue, to string, o streams.PublishOptions) (uint64, bool, error) {
	t.Helper()
	return streams.Publish(within(t), js.Conn(), q, entity(t, to), o)
}

// publishN publishes n jobs of n entities.
func publishN(t testing.TB, js jetstream.JetStream, q subjects.Queue, n int) {
	t.Helper()
	for i := range n {
		if _, _, err := publish(t, js, q, fmt.Sprint("build.", i), streams.PublishOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	waitTurns(t, js, q, n)
}

// waitTurns waits until a queue has n turns: they are made after the publish is answered.
func waitTurns(t testing.TB, js jetstream.JetStream, q subjects.Queue, n int) {
	t.Helper()
	ctx := within(t)
	for {
		s, err := js.Stream(ctx, q.TurnsStream())
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.Msgs == uint64(n) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// waitRunnable returns what is known of a queue when n turns wait to be taken: the server counts them in its own time.
func waitRunnable(t testing.TB, js jetstream.JetStream, q subjects.Queue, n uint64) streams.Info {
	t.Helper()
	ctx := within(t)
	for {
		i, err := streams.QueueInfo(ctx, js, q)
		if err != nil {
			t.Fatal(err)
		}
		if i.Runnable == n {
			return i
		}
		if streams.Pause(ctx, 10*time.Millisecond) != nil {
			t.Fatalf("%d turns wait, not %d", i.Runnable, n)
		}
	}
}

func TestPublish(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	seq, dup, err := publish(t, js, ci, "file.server/stream.go", streams.PublishOptions{
		Kind: "archive", ID: "a-1", Data: []byte("{}"), Timeout: 90 * time.Second, MaxAttempts: 2, ReplyTo: "results.mine",
		Header: map[string][]string{"Tenant": {"7"}, "traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}, IfIdle: true,
	})
	if err != nil || dup || seq != 1 {
		t.Fatal(seq, dup, err)
	}
	if seq, dup, err = publish(t, js, ci, "file.server/stream.go", streams.PublishOptions{ID: "a-1"}); err != nil || !dup || seq != 1 {
		t.Fatal("again:", seq, dup, err)
	}
	job, err := streams.GetJob(within(t), js, ci, 1)
	if err != nil {
		t.Fatal(err)
	}
	job.PublishedAt = time.Time{}
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"seq":1,"entity":"file.server/stream.go","kind":"archive","id":"a-1","published_at":"0001-01-01T00:00:00Z","size":2,` +
		`"timeout":"1m30s","max_attempts":2,"reply_to":"results.mine","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",` +
		`"headers":{"Tenant":"7"},"data":"{}"}`
	if string(text) != want {
		t.Fatalf("\n%s\n%s", text, want)
	}
	if _, err := streams.GetJob(within(t), js, ci, 2); !errors.Is(err, streams.ErrNotFound) || problem.Hint(err) == "" {
		t.Fatal(err)
	}
	if _, err := streams.GetJob(within(t), js, "none", 2); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Fatal(err)
	}
}

func TestPublishErrors(t *testing.T) {
	s := natstest.Start(t, natstest.MaxPayload(64<<10))
	js := s.JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.MaxMsgs = 2 })
	makeQueue(t, js, "bytes", func(p *streams.Policy) { p.MaxBytes = 1000 })
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"jobs.other.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Conn().Subscribe("jobs.deaf.>", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	publishN(t, js, ci, 2)

	for _, c := range []struct {
		name string
		q    subjects.Queue
		to   subjects.Entity
		o    streams.PublishOptions
		want error
		says string
		hint string
	}{
		{name: "unknown queue", q: "none", want: streams.ErrUnknownQueue, says: `"none"`, hint: "coordinator queue add none"},
		{name: "another's stream", q: "other", want: streams.ErrUnknownQueue, says: "something else"},
		{name: "too many", q: ci, want: streams.ErrQueueFull, says: "publish to ci for build.9: the queue is full: maximum messages exceeded", hint: "coordinator queue edit ci"},
		{name: "too many bytes", q: "bytes", o: streams.PublishOptions{Data: make([]byte, 2000)}, want: streams.ErrQueueFull, says: "maximum bytes"},
		{name: "body too large", q: ci, o: streams.PublishOptions{Data: make([]byte, 64<<10)}, want: streams.ErrTooLarge, says: "64 KiB (65536 bytes); this server takes 64 KiB (65536 bytes)", hint: "max_payload"},
		{name: "no room for a reason", q: ci, o: streams.PublishOptions{Data: make([]byte, 63<<10)}, want: streams.ErrTooLarge},
		{name: "headers too large", q: ci, o: streams.PublishOptions{Header: map[string][]string{"A": {strings.Repeat("x", 62<<10)}}}, want: streams.ErrTooLarge},
		{name: "busy", q: ci, to: subjects.Entity{Type: "build", ID: "1"}, o: streams.PublishOptions{IfIdle: true}, want: streams.ErrLaneBusy},
		{name: "queue's name", q: "No", want: subjects.ErrQueueName},
		{name: "entity's type", q: ci, to: subjects.Entity{Type: "a b", ID: "1"}, want: subjects.ErrEntityType},
		{name: "entity's id", q: ci, to: subjects.Entity{Type: "a"}, want: subjects.ErrEntityID},
		{name: "kind", q: ci, o: streams.PublishOptions{Kind: "a b"}, want: streams.ErrOption, says: "Job-Kind"},
		{name: "reply", q: ci, o: streams.PublishOptions{ReplyTo: "a.*"}, want: streams.ErrOption, says: "Job-Reply-To"},
		{name: "timeout", q: ci, o: streams.PublishOptions{Timeout: -1}, want: streams.ErrOption},
		{name: "server's header", q: ci, o: streams.PublishOptions{Header: map[string][]string{"nats-rollup": {"all"}}}, want: streams.ErrOption, says: "nats-rollup"},
		{name: "our header", q: ci, o: streams.PublishOptions{Header: map[string][]string{"Job-Kind": {"x"}}}, want: streams.ErrOption},
		{name: "status", q: ci, o: streams.PublishOptions{Header: map[string][]string{"Status": {"404"}}}, want: streams.ErrOption},
		{name: "line break in a value", q: ci, o: streams.PublishOptions{Header: map[string][]string{"A": {"x\r\nNats-Rollup: all"}}}, want: streams.ErrOption},
		{name: "line break in a name", q: ci, o: streams.PublishOptions{Header: map[string][]string{"A\r\nB": {"x"}}}, want: streams.ErrOption},
		{name: "line break in the id", q: ci, o: streams.PublishOptions{ID: "a\nb"}, want: streams.ErrOption},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.to == (subjects.Entity{}) {
				c.to = subjects.Entity{Type: "build", ID: "9"}
			}
			_, _, err := streams.Publish(within(t), js.Conn(), c.q, c.to, c.o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(problem.Hint(err), c.hint) {
				t.Fatalf("%v\n%s", err, problem.Hint(err))
			}
		})
	}
	if n := stream(t, js, "JOBS_ci").State.Msgs; n != 2 {
		t.Fatalf("%d jobs are stored", n)
	}

	// Somebody listens and does not answer: the caller's patience decides.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := streams.Publish(ctx, js.Conn(), "deaf", entity(t, "build.1"), streams.PublishOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	s.Stop()
	for js.Conn().IsConnected() {
		time.Sleep(time.Millisecond)
	}
	if _, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{}); !errors.Is(err, streams.ErrNoServer) {
		t.Fatal(err)
	}
}

// A full queue takes jobs again when there is room.
func TestFullQueueRecovers(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.MaxMsgs = 1 })
	publishN(t, js, ci, 1)
	if was, err := streams.DeleteMessage(within(t), js, "JOBS_ci", 1); !was || err != nil {
		t.Fatal(was, err)
	}
	if was, err := streams.DeleteMessage(within(t), js, "JOBS_ci", 1); was || err != nil {
		t.Fatal("what is gone is gone:", was, err)
	}
	if _, _, err := publish(t, js, ci, "build.0", streams.PublishOptions{IfIdle: true}); err != nil {
		t.Fatal(err)
	}
}

// Who publishes many at once reads the answers as they come.
func TestMessageAndReadAnswer(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.MaxMsgs = 1 })
	nc := js.Conn()
	answers := make(chan *nats.Msg, 1)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, answers); err != nil {
		t.Fatal(err)
	}
	ask := func(q subjects.Queue, o streams.PublishOptions) (streams.Ack, error) {
		t.Helper()
		msg, err := o.Message(nc, q, entity(t, "build.1"))
		if err != nil {
			t.Fatal(err)
		}
		msg.Reply = inbox
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
		select {
		case m := <-answers:
			return streams.ReadAnswer(q, m)
		case <-within(t).Done():
			t.Fatal("no answer")
			return streams.Ack{}, nil
		}
	}
	for _, want := range []streams.Ack{{Seq: 1}, {Seq: 1, Duplicate: true}} {
		if got, err := ask(ci, streams.PublishOptions{ID: "a"}); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := ask(ci, streams.PublishOptions{ID: "b"}); !errors.Is(err, streams.ErrQueueFull) || !strings.Contains(problem.Hint(err), "--max-msgs") {
		t.Errorf("%v\n%s", err, problem.Hint(err))
	}
	if _, err := ask("none", streams.PublishOptions{}); !errors.Is(err, streams.ErrUnknownQueue) || !errors.Is(err, nats.ErrNoResponders) || !strings.Contains(problem.Hint(err), "queue add none") {
		t.Errorf("%v\n%s", err, problem.Hint(err))
	}
	if _, err := (streams.PublishOptions{Kind: "a b"}).Message(nc, ci, entity(t, "build.1")); !errors.Is(err, streams.ErrOption) {
		t.Error(err)
	}
}
