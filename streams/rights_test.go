package streams_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// The rights of a publisher are enough to publish, with every refusal told apart; and a user without the right to ask
// about JetStream is not told that there is none.
func TestPublisherNeedsLittle(t *testing.T) {
	s := natstest.Start(t, natstest.UserPassword("admin", "a"), natstest.Config(`
		authorization { users: [
			{user: admin, password: a}
			{user: pub, password: p, permissions: {publish: ["jobs.*.*.*"], subscribe: ["_INBOX.>"]}}
		] }`))
	makeQueue(t, s.JetStream(), ci, func(p *streams.Policy) { p.MaxMsgs = 1 })

	told := make(chan error, 16)
	nc, err := streams.Connect(within(t), streams.Options{URL: "nats://pub:p@" + s.Addr(), OnError: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	to := entity(t, "build.1")
	if _, _, err := streams.Publish(within(t), nc, ci, to, streams.PublishOptions{IfIdle: true}); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[error]streams.PublishOptions{streams.ErrLaneBusy: {IfIdle: true}, streams.ErrQueueFull: {}} {
		if _, _, err := streams.Publish(within(t), nc, ci, to, o); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if _, _, err := streams.Publish(within(t), nc, "none", to, streams.PublishOptions{}); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Error(err)
	}
	if err := streams.CheckServer(within(t), nc); err != nil {
		t.Error(err)
	}
	if err := <-told; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Error(err)
	}
}

func TestCheckServerOfAnAccountWithoutJetStream(t *testing.T) {
	s := natstest.Start(t, natstest.UserPassword("b", "b"), natstest.Config(`
		accounts { A: {jetstream: enabled, users: [{user: a, password: a}]}, B: {users: [{user: b, password: b}]} }`))
	if err := streams.CheckServer(within(t), s.Conn()); !errors.Is(err, streams.ErrNoJetStream) {
		t.Error(err)
	}
	if _, err := streams.LoadQueue(within(t), must[jetstream.JetStream](t)(jetstream.New(s.Conn())), ci); !errors.Is(err, streams.ErrNoJetStream) {
		t.Error(err)
	}
}
