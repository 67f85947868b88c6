package streams_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// emptyHome keeps the contexts of whoever runs the tests out of them, and returns the folder of contexts.
func emptyHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	dir := filepath.Join(home, "nats", "context")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestConnect(t *testing.T) {
	s := natstest.Start(t, natstest.UserPassword("u", "secret"))
	dir := emptyHome(t)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prod", fmt.Sprintf(`{"url":"nats://%s","user":"u","password":"secret"}`, s.Addr()))
	write("elsewhere", `{"url":"nats://127.0.0.1:1","user":"u","password":"secret"}`)
	write("prefix", fmt.Sprintf(`{"url":"nats://%s","user":"u","password":"secret","jetstream_api_prefix":"FROM.hub"}`, s.Addr()))
	write("two", fmt.Sprintf(`{"url":"nats://%s","user":"u","password":"secret","jetstream_domain":"a.b"}`, s.Addr()))

	for _, c := range []struct {
		name    string
		o       streams.Options
		want    error
		says    string // in the error
		hint    string // in the hint
		silence string // in neither
	}{
		{name: "url", o: streams.Options{URL: s.URL()}},
		{name: "several urls", o: streams.Options{URL: "nats://u:secret@127.0.0.1:1, " + s.URL()}},
		{name: "context", o: streams.Options{Context: "prod"}},
		{name: "context by path", o: streams.Options{Context: filepath.Join(dir, "prod.json")}},
		{name: "url wins over the context's", o: streams.Options{Context: "elsewhere", URL: "nats://" + s.Addr()}},
		{name: "wrong password", o: streams.Options{URL: "nats://u:wrong@" + s.Addr(), Wait: true}, want: streams.ErrAuth, says: s.Addr(), silence: "wrong"},
		{name: "no password", o: streams.Options{URL: "nats://" + s.Addr(), Wait: true}, want: streams.ErrAuth, hint: "password"},
		{name: "no server", o: streams.Options{URL: "nats://me:secret@127.0.0.1:1"}, want: streams.ErrNoServer, says: "nats://127.0.0.1:1", hint: "running", silence: "secret"},
		{name: "no server in the context", o: streams.Options{Context: "elsewhere"}, want: streams.ErrNoServer, says: `context "elsewhere"`},
		{name: "unknown context", o: streams.Options{Context: "prd", Wait: true}, want: streams.ErrUnknownContext, says: `"prd"`, hint: "elsewhere, prefix, prod, two"},
		{name: "context that is a path elsewhere", o: streams.Options{Context: "../../x"}, want: streams.ErrUnknownContext},
		{name: "context with an API prefix", o: streams.Options{Context: "prefix", Wait: true}, says: `"FROM.hub"`, hint: "domain"},
		{name: "context with no domain", o: streams.Options{Context: "two", Wait: true}, want: subjects.ErrDomain, says: `"a.b"`, hint: "one word"},
		{name: "no domain", o: streams.Options{URL: s.URL(), Domain: "a b", Wait: true}, want: subjects.ErrDomain, says: `"a b"`, hint: "one word"},
		{name: "no such creds", o: streams.Options{URL: s.URL(), Creds: "/none.creds", Wait: true}, want: os.ErrNotExist, hint: "paths"},
		{name: "no such certificate", o: streams.Options{URL: s.URL(), TLS: streams.TLS{Cert: "/none", Key: "/none"}, Wait: true}, want: os.ErrNotExist},
		{name: "no such authority", o: streams.Options{URL: s.URL(), TLS: streams.TLS{CA: "/none"}, Wait: true}, want: os.ErrNotExist},
		{name: "tls to a plain server", o: streams.Options{URL: "tls://u:secret@" + s.Addr(), Wait: true}, want: streams.ErrAuth, hint: "TLS"},
		{name: "no url at all", o: streams.Options{URL: "nats://a b:x", Wait: true}, says: "parse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, err := streams.Connect(within(t), c.o)
			if nc != nil {
				defer nc.Close()
			}
			if c.want == nil && c.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("connected")
			}
			all := err.Error() + "\n" + problem.Hint(err)
			if c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(problem.Hint(err), c.hint) || c.silence != "" && strings.Contains(all, c.silence) {
				t.Fatal(all)
			}
		})
	}
}

func TestConnectWithoutContexts(t *testing.T) {
	emptyHome(t)
	_, err := streams.Connect(within(t), streams.Options{Context: "prod"})
	if !errors.Is(err, streams.ErrUnknownContext) || !strings.Contains(problem.Hint(err), "nats context add") {
		t.Fatal(err, problem.Hint(err))
	}
	if streams.SelectedContext() != "" || streams.KnownContexts() != nil {
		t.Fatal("contexts out of nowhere")
	}
}

func TestSelectedContext(t *testing.T) {
	dir := emptyHome(t)
	if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "context.txt"), []byte("prod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := streams.SelectedContext(); got != "prod" {
		t.Fatal(got)
	}
}

func TestConnectWaitsForAServer(t *testing.T) {
	s := natstest.Start(t)
	s.Stop()
	tries := 0
	nc, err := streams.Connect(within(t), streams.Options{URL: s.URL(), Wait: true, OnWait: func(err error, next time.Duration) {
		if !errors.Is(err, streams.ErrNoServer) || next <= 0 || next > 5*time.Second {
			t.Errorf("told %v and %s", err, next)
		}
		if tries++; tries == 2 {
			s.Restart()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if tries < 2 {
		t.Fatalf("told %d times", tries)
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	why := errors.New("enough")
	t.Run("while waiting", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(within(t))
		defer cancel(nil)
		_, err := streams.Connect(ctx, streams.Options{URL: "nats://127.0.0.1:1", Wait: true, OnWait: func(error, time.Duration) { cancel(why) }})
		if !errors.Is(err, streams.ErrNoServer) || !errors.Is(err, why) {
			t.Fatal(err)
		}
	})
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(within(t))
		cancel(why)
		_, err := streams.Connect(ctx, streams.Options{URL: "nats://127.0.0.1:1"})
		if !errors.Is(err, why) {
			t.Fatal(err)
		}
	})
}

// Something listens that is no NATS server: the attempt ends by its timeout.
func TestConnectToSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = streams.Connect(within(t), streams.Options{URL: "nats://" + l.Addr().String(), Timeout: 50 * time.Millisecond})
	if !errors.Is(err, streams.ErrNoServer) {
		t.Fatal(err)
	}
}

func TestReconnectAndNoBuffer(t *testing.T) {
	s := natstest.Start(t)
	gone, back := make(chan error, 1), make(chan struct{}, 1)
	nc := must[*nats.Conn](t)(streams.Connect(within(t), streams.Options{
		URL: s.URL(), Name: "test",
		OnDisconnect: func(err error) { gone <- err }, OnReconnect: func() { back <- struct{}{} },
	}))
	defer nc.Close()
	s.Stop()
	<-gone
	if err := nc.Publish("a", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Fatalf("a publish while disconnected: %v", err)
	}
	s.Restart()
	<-back
	if err := nc.Publish("a", nil); err != nil {
		t.Fatal(err)
	}
}

func TestCheckServer(t *testing.T) {
	if err := streams.CheckServer(within(t), natstest.Start(t).Conn()); err != nil {
		t.Fatal(err)
	}
	err := streams.CheckServer(within(t), natstest.Start(t, natstest.NoJetStream()).Conn())
	if !errors.Is(err, streams.ErrNoJetStream) || !strings.Contains(problem.Hint(err), "-js") {
		t.Fatal(err, problem.Hint(err))
	}
}

func TestCheckVersion(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.14.0": true, "2.14.0-RC.2": true, "2.15.2": true, "3.0.0": true, "v2.14.1": true, "2.100.0": true, "2.14-dev": true,
		"2.13.9": false, "2.9.25": false, "1.99.0": false, "v2.10.0-beta.1": false, "2.13": false,
		"": true, "dev": true, "2.x.1": true,
	} {
		err := streams.CheckVersion(version)
		if ok != (err == nil) || err != nil && !errors.Is(err, streams.ErrOldServer) {
			t.Errorf("%q: %v", version, err)
		}
		if err != nil && (!strings.Contains(err.Error(), version) || !strings.Contains(err.Error(), streams.MinServer)) {
			t.Errorf("%q: %v does not name both versions", version, err)
		}
	}
}
