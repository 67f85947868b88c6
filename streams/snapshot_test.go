package streams_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// A server of a cluster answers that it takes a stream, and the word that it listens for the data comes later, by another
// route: what nobody took so far is sent again.
func TestRestoreIsHeardLate(t *testing.T) {
	server := natstest.Start(t, natstest.NoJetStream())
	nc := server.Conn()
	var got bytes.Buffer // the subscription's own until the last chunk
	done, all := make(chan error, 1), make(chan string, 1)
	if _, err := nc.Subscribe("$JS.API.STREAM.RESTORE.S", func(m *nats.Msg) {
		if err := m.Respond([]byte(`{"deliver_subject":"late"}`)); err != nil {
			done <- err
			return
		}
		time.Sleep(200 * time.Millisecond) // the client has asked long before
		_, err := nc.Subscribe("late", func(m *nats.Msg) {
			if got.Write(m.Data); len(m.Data) == 0 {
				all <- got.String()
			}
			_ = m.Respond(nil) // a lost answer fails the restore
		})
		done <- err
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	what := strings.Repeat("all that is in the stream ", 20_000) // some chunks
	s := streams.Snapshot{Config: jetstream.StreamConfig{Name: "S"}}
	if err := streams.RestoreStream(within(t), server.Conn(), s, strings.NewReader(what)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if text := <-all; text != what {
		t.Errorf("%d bytes came of %d", len(text), len(what))
	}
}
