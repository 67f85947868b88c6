package streams_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

// accounts is a server of domain hub with two accounts: one has room for a queue, the other one for three streams.
const accounts = `
jetstream { domain: hub }
accounts {
  ROOMY { jetstream: { max_file: 64M, max_mem: 16M, max_streams: 30 }, users: [ {user: roomy, password: p} ] }
  TIGHT { jetstream: { max_file: 64M, max_mem: 16M, max_streams: 3 }, users: [ {user: tight, password: p} ] }
  BARE { users: [ {user: bare, password: p} ] }
}
`

// A queue lives in the account of whoever makes it, under a context that names the server's own domain. Another account
// does not know it, and one whose limits are too tight is told so.
func TestAccountsAndDomain(t *testing.T) {
	s := natstest.Start(t, natstest.Config(accounts))
	dir := emptyHome(t)
	as := func(user, domain string) (jetstream.JetStream, error) {
		t.Helper()
		text, err := json.Marshal(map[string]string{"url": "nats://" + s.Addr(), "user": user, "password": "p", "jetstream_domain": domain})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, user+".json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		nc, err := streams.Connect(within(t), streams.Options{Context: user})
		if err != nil {
			return nil, err
		}
		t.Cleanup(nc.Close)
		if err := streams.CheckServer(within(t), nc); err != nil {
			return nil, err
		}
		return streams.JetStream(nc)
	}
	for _, domain := range []string{"leaf", "HUB"} {
		if _, err := as("roomy", domain); err == nil || !strings.Contains(err.Error(), `"hub"`) || !strings.Contains(problem.Hint(err), "domain") {
			t.Errorf("domain %s: %v", domain, err)
		}
	}
	if _, err := as("roomy", "h.b"); err == nil || !strings.Contains(err.Error(), `"h.b"`) || !strings.Contains(problem.Hint(err), "one word") {
		t.Errorf("no domain at all: %v", err)
	}
	roomy, err := as("roomy", "hub")
	if err != nil {
		t.Fatal(err)
	}
	makeQueue(t, roomy, ci)
	publishN(t, roomy, ci, 2)
	tight, err := as("tight", "hub")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := streams.LoadQueue(within(t), tight, ci); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Errorf("the other account: %v", err)
	}
	_, err = streams.CreateQueue(within(t), tight, ci, streams.DefaultPolicy())
	if err == nil || !strings.Contains(problem.Hint(err), "account") {
		t.Errorf("too many streams: %v, hint %q", err, problem.Hint(err))
	}
	// What it got to make is taken away as the hint says, but for the bucket that queues share.
	if _, err := streams.DeleteQueue(within(t), tight, ci); err != nil {
		t.Error(err)
	}
	for name := range tight.StreamNames(within(t)).Name() {
		if name != "KV_WORKERS" {
			t.Errorf("%s is left", name)
		}
	}
	if _, err := as("bare", ""); !errors.Is(err, streams.ErrNoJetStream) || !strings.Contains(problem.Hint(err), "accounts") {
		t.Errorf("an account without JetStream: %v, hint %q", err, problem.Hint(err))
	}
}
