package natstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/leaks"
)

func TestMain(m *testing.M) {
	Main()
	leaks.VerifyTestMain(m, LeakOptions()...)
}

// one is what both kinds of servers can do.
type one interface {
	URL() string
	Addr() string
	Dir() string
	Stop()
	Restart()
	Conn() *nats.Conn
	JetStream() jetstream.JetStream
}

func both(t *testing.T, test func(t *testing.T, start func(...Option) one)) {
	t.Run("embedded", func(t *testing.T) { test(t, func(o ...Option) one { return Start(t, o...) }) })
	t.Run("process", func(t *testing.T) { test(t, func(o ...Option) one { return Process(t, o...) }) })
}

func put(t *testing.T, js jetstream.JetStream, stream, subject string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{subject}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, subject, []byte("x")); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// A port is its test's alone until that ends, and none that the system gives to somebody else meanwhile.
func TestPort(t *testing.T) {
	var last int
	t.Run("many", func(t *testing.T) {
		seen := map[int]bool{}
		for range 300 {
			last = Port(t)
			if seen[last] || last >= 32_768 {
				t.Fatalf("port %d: seen before %v", last, seen[last])
			}
			seen[last] = true
			if err := free(last); err != nil {
				t.Fatal(err)
			}
		}
	})
	mark, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: last})
	if err != nil {
		t.Fatalf("port %d is not given back: %v", last, err)
	}
	_ = mark.Close()
}

// A server whose port somebody else has says so.
func TestPortIsTaken(t *testing.T) {
	bound := portBound
	portBound = 0
	defer func() { portBound = bound }()
	for _, which := range []string{"clients", "routes"} {
		set := newSettings(t, nil)
		set.Name, set.RoutePort = "n1", Port(t)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", map[string]int{"clients": set.Port, "routes": set.RoutePort}[which]))
		if err != nil {
			t.Fatal(err)
		}
		srv, err := set.run()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the port for %s is taken: %v", which, err)
		}
		if srv != nil {
			srv.Shutdown()
		}
		_ = l.Close()
	}
}

// A server comes back on its port while processes begin, each of which has a copy of the old listener for a moment.
func TestRestartWhileProcessesBegin(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer end()
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	s := Start(t, NoJetStream())
	for range 200 {
		s.Restart()
	}
}

func TestRestartKeepsPortAndData(t *testing.T) {
	both(t, func(t *testing.T, start func(...Option) one) {
		s := start(SyncAlways())
		url := s.URL()
		put(t, s.JetStream(), "A", "a")
		s.Restart()
		if s.URL() != url {
			t.Fatalf("came back on %s, was on %s", s.URL(), url)
		}
		if n := count(t, s.JetStream(), "A"); n != 1 {
			t.Fatalf("%d messages after the restart", n)
		}
		s.Stop()
		s.Stop()
		if c, err := net.Dial("tcp", s.Addr()); err == nil {
			_ = c.Close()
			t.Fatal("something still listens after Stop")
		}
	})
}

func TestOptions(t *testing.T) {
	both(t, func(t *testing.T, start func(...Option) one) {
		s := start(NoJetStream(), UserPassword("u", "p"), MaxPayload(4096))
		if _, err := nats.Connect("nats://" + s.Addr()); err == nil {
			t.Fatal("connected without credentials")
		}
		nc := s.Conn()
		if nc.MaxPayload() != 4096 {
			t.Fatalf("max payload is %d", nc.MaxPayload())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.JetStream().AccountInfo(ctx); err == nil {
			t.Fatal("JetStream is on")
		}
	})
}

func TestKilledProcessKeepsStoredMessages(t *testing.T) {
	p := Process(t)
	put(t, p.JetStream(), "A", "a")
	pid := p.PID()
	p.Kill()
	p.Kill()
	if p.PID() != 0 {
		t.Fatal("a killed server has a pid")
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Fatal("the process is still there")
	}
	p.Restart()
	if n := count(t, p.JetStream(), "A"); n != 1 {
		t.Fatalf("%d messages after SIGKILL", n)
	}
}

// A test binary that is killed closes the pipe that its servers read.
func TestProcessEndsWithItsTest(t *testing.T) {
	p := Process(t)
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	p.cmd = nil
}

// A server that is ready ends in order when it is told to, and is not just killed by the signal.
func TestProcessEndsInOrder(t *testing.T) {
	for range 5 {
		p := Process(t, NoJetStream())
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if err := p.cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		p.cmd = nil
	}
}

// Another server can take over the data of one that is gone.
func TestDir(t *testing.T) {
	a := Start(t)
	put(t, a.JetStream(), "A", "a")
	a.Stop()
	b := Process(t, Dir(a.Dir()))
	if n := count(t, b.JetStream(), "A"); n != 1 {
		t.Fatalf("%d messages", n)
	}
}

func TestConfig(t *testing.T) {
	both(t, func(t *testing.T, start func(...Option) one) {
		s := start(UserPassword("u", "p"), Config(`authorization { users: [ {user: u, password: p, permissions: {publish: "mine.>"}} ] }`))
		nc := s.Conn()
		if err := nc.Publish("yours", nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if nc.LastError() == nil {
			t.Fatal("the configuration is not used")
		}
	})
}

// publishOnce publishes again and again until it is answered: what an election swallows never is, nor what is sent while the
// connection looks for another server.
func publishOnce(ctx context.Context, t *testing.T, js jetstream.JetStream, subject string) {
	t.Helper()
	for {
		try, done := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.Publish(try, subject, nil, jetstream.WithMsgID("once"))
		done()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCluster(t *testing.T) {
	c := Cluster(t, 3)
	js := c.JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	var leader *Server
	for ; leader == nil && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		leader = c.Leader("A")
	}
	if leader == nil {
		t.Fatal("no leader")
	}
	leader.Stop()
	publishOnce(ctx, t, js, "a")
	leader.Restart()
	c.WaitReady()
	if n := count(t, js, "A"); n != 1 {
		t.Fatalf("%d messages", n)
	}
}

// Servers as processes find each other by the ways that they were given and by no other, and a cluster goes on without
// one of them.
func TestProcesses(t *testing.T) {
	var asked atomic.Int32
	all := Processes(t, 3, func(_, _ int, addr string) string { asked.Add(1); return addr })
	if asked.Load() != 6 {
		t.Fatalf("%d ways were asked for", asked.Load())
	}
	js := all[0].JetStream()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	if urls := js.Conn().DiscoveredServers(); len(urls) > 0 {
		t.Errorf("the client was told of %v", urls)
	}
	for _, p := range all[1:] {
		if p.Name() == s.CachedInfo().Cluster.Leader {
			p.Kill()
		}
	}
	publishOnce(ctx, t, js, "a")
	for _, p := range all {
		if p.PID() == 0 {
			p.Restart()
		}
		p.WaitReady()
	}
	if n := count(t, js, "A"); n != 1 {
		t.Fatalf("%d messages", n)
	}
}
