package badinput

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/internal/natstest"
)

// both runs a command of either program that needs the server, and demands the same words of both.
func (s *site) both(patterns ...string) {
	s.t.Helper()
	s.coordinator("queue", "info", "ci").must(1, patterns...)
	s.coordinator("job", "publish", "ci", "build.1").must(1, patterns...)
	if r := s.workerd("--queue", "ci", "--", "true").must(1, patterns...); strings.Contains(r.stderr, "connection is lost") {
		s.t.Error("it takes its own leaving for a loss")
	}
}

func TestServerWithoutJetStream(t *testing.T) {
	s := emptySite(t, natstest.Start(t, natstest.NoJetStream()).URL())
	s.both(`JetStream is not enabled`, `^hint: start the server with .nats-server -js`)
}

func TestAccountWithoutJetStream(t *testing.T) {
	srv := natstest.Start(t, natstest.UserPassword("u", "p"), natstest.Config(
		`accounts { A { users: [{user: u, password: p}] }, B { jetstream: enabled, users: [{user: b, password: p}] } }`))
	s := emptySite(t, srv.URL())
	s.both(`JetStream is not enabled`, `^hint: .*accounts, enable it for this one`)
}

// An old server is named with its version, and with the one that is needed.
func TestOldServer(t *testing.T) {
	s := emptySite(t, oldServer(t, "2.10.29"))
	s.both(`the NATS server is too old: it is 2\.10\.29, and 2\.14 is needed`, `^hint: upgrade nats-server`)
}

func TestWrongCredentials(t *testing.T) {
	srv := natstest.Start(t, natstest.UserPassword("bob", "secret"))
	says := []string{`not allowed to connect`, `^hint: check the user and password`}
	for name, url := range map[string]string{"none": "nats://" + srv.Addr(), "wrong": "nats://bob:hunter2@" + srv.Addr()} {
		t.Run(name, func(t *testing.T) {
			s := emptySite(t, url)
			s.both(says...)
			if out := s.coordinator("queue", "ls"); strings.Contains(out.stderr, "hunter2") {
				t.Error("it tells the password")
			}
		})
	}
	s := emptySite(t, "nats://"+srv.Addr())
	s.workerd("--queue", "ci", "--creds", "none.creds", "--", "true").must(1, `none\.creds`, `^hint: `)
	s.coordinator("queue", "ls", "--creds", "none.creds").must(1, `none\.creds`, `^hint: `)
}

// Nobody is there: coordinator says so; workerd waits, tells that it does, and ends when it is told to.
func TestNoServer(t *testing.T) {
	s := emptySite(t, "nats://127.0.0.1:1")
	s.coordinator("queue", "ls").must(1, `connect to nats://127\.0\.0\.1:1: no NATS server`, `^hint: is the NATS server running`)
	s.coordinator("queue", "ls", "-s", "nats://ho st").must(1, `^hint: a URL looks like nats://host:4222`)
	w := s.start("--queue", "ci", "--", "true")
	w.says(`"level":"warn"`, "waiting for it", "127.0.0.1:1")
}

// oldServer speaks as much NATS as it takes to be asked for its version.
func oldServer(t *testing.T, version string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			greet(c, version)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return "nats://" + l.Addr().String()
}

// greet answers pings until the client goes.
func greet(c net.Conn, version string) {
	defer c.Close()
	port := c.LocalAddr().(*net.TCPAddr).Port
	fmt.Fprintf(c, `INFO {"server_id":"OLD","server_name":"old","version":%q,"proto":1,"host":"127.0.0.1","port":%d,"headers":true,"max_payload":1048576,"jetstream":true}`+"\r\n", version, port)
	for in := bufio.NewScanner(c); in.Scan(); {
		if strings.HasPrefix(in.Text(), "PING") {
			fmt.Fprint(c, "PONG\r\n")
		}
	}
}
