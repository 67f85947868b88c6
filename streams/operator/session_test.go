package operator

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// deaf hears no answer: what it publishes is stored, and nobody learns of it.
type deaf struct{ jetstream.JetStream }

func (d deaf) PublishMsg(ctx context.Context, m *nats.Msg, o ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if _, err := d.JetStream.PublishMsg(ctx, m, o...); err != nil {
		return nil, err
	}
	return nil, context.Canceled
}

func unanswered(t *testing.T) (jetstream.JetStream, subjects.Entity) {
	t.Helper()
	srv := natstest.Start(t)
	nc, err := streams.Connect(t.Context(), streams.Options{URL: srv.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.CreateQueue(t.Context(), js, "ci", streams.DefaultPolicy()); err != nil {
		t.Fatal(err)
	}
	e, err := subjects.ParseEntity("build.1")
	if err != nil {
		t.Fatal(err)
	}
	return js, e
}

// The end of a command comes in the very moment of a heartbeat, whose answer it does not hear. It says goodbye all the same:
// others would wait for its lease.
func TestAFarewellAfterABeatWithoutAnAnswer(t *testing.T) {
	js, _ := unanswered(t)
	s, err := Open(t.Context(), js, "ci", "test")
	if err != nil {
		t.Fatal(err)
	}
	s.js = deaf{js}
	if err := s.write(t.Context(), streams.StateOperator); err == nil {
		t.Fatal("it heard")
	}
	s.js = js
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if over, err := s.over(t.Context(), s.id); err != nil || !over {
		t.Errorf("over %v, %v", over, err)
	}
}

// The same of a hold: its claim was rewritten in the moment of its release. The lane stands afterwards as it stood before.
func TestAReleaseAfterARewriteWithoutAnAnswer(t *testing.T) {
	js, e := unanswered(t)
	if _, _, err := streams.Publish(t.Context(), js.Conn(), "ci", e, streams.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	loaded, err := streams.LoadQueue(t.Context(), js, "ci")
	if err != nil {
		t.Fatal(err)
	}
	halted := lane.Record{State: lane.Halted, Session: "x", Job: 1, Created: loaded.Created.UnixNano(), Attempt: 5, Counts: lane.Counts{Attempts: 5}}
	if _, err := js.Publish(t.Context(), subjects.Queue("ci").ClaimSubject(e), halted.Encode()); err != nil {
		t.Fatal(err)
	}
	h, err := HoldLane(t.Context(), js, "ci", e, HoldOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.s.js = deaf{js}
	if err := h.rewrite(t.Context()); err == nil {
		t.Fatal("it heard")
	}
	h.s.js = js
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := streams.LastMessage(t.Context(), js, subjects.Queue("ci").ClaimsStream(), subjects.Queue("ci").ClaimSubject(e))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := lane.DecodeRecord(m.Seq, m.Data); err != nil || r.State != lane.Halted || r.Attempts != 5 {
		t.Errorf("%+v %v", r, err)
	}
}
