package natstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Servers are the servers of one cluster, inside the test's process. Each can be stopped and restarted on its own.
type Servers struct {
	t   testing.TB
	All []*Server
}

// Way is how one server of a cluster reaches another one, for tests that stand in between: it gets the address at which
// server `to` listens for its peers, and returns the one that server `from` is told.
type Way func(from, to int, addr string) string

// Processes starts n servers as one JetStream cluster, each as a process of its own. They know each other by the given
// ways alone, and tell clients of none but themselves. It returns when JetStream answers at each of them. The test
// binary must call Main in TestMain.
func Processes(t testing.TB, n int, way Way, opts ...Option) []*Proc {
	t.Helper()
	ports := routePorts(t, n)
	var all []*Proc
	for i, port := range ports {
		p := &Proc{t: t, set: newSettings(t, opts)}
		p.set.Name, p.set.RoutePort, p.set.Hidden = fmt.Sprintf("n%d", i+1), port, true
		for j, other := range ports {
			if addr := fmt.Sprintf("127.0.0.1:%d", other); j != i {
				p.set.Routes = append(p.set.Routes, "nats://"+way(i, j, addr))
			}
		}
		t.Cleanup(p.Kill)
		p.Restart()
		all = append(all, p)
	}
	for _, p := range all {
		p.WaitReady()
	}
	var dirs []string
	for _, p := range all {
		dirs = append(dirs, p.Dir())
	}
	awaitPeers(t, all[0].JetStream(), dirs)
	return all
}

// awaitPeers waits until a stream can have a copy on each of the servers with these folders: a leader answers before it has
// heard of all of its peers.
//
// When an account's last stream is gone, each server removes the account's folders if they are empty, in its own time, and
// a stream that is made at this very moment fails. So they are never empty from here on. What begins with a dot is to a
// server the rest of a stream that it was removing.
func awaitPeers(t testing.TB, js jetstream.JetStream, dirs []string) {
	t.Helper()
	const name = "READY"
	tried := func(what string, do func(ctx context.Context) error) {
		t.Helper()
		for until := time.Now().Add(startBound); ; time.Sleep(20 * time.Millisecond) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			err := do(ctx)
			cancel()
			if err == nil {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("a stream with %d copies cannot be %s: %v", len(dirs), what, err)
			}
		}
	}
	folders := func(want bool) func(context.Context) error {
		return func(context.Context) error {
			if slices.ContainsFunc(dirs, func(dir string) bool { return (streamDir(dir, name) != "") != want }) {
				return fmt.Errorf("not everywhere is its folder: %v", want)
			}
			return nil
		}
	}
	tried("made", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{"ready"}, Replicas: len(dirs)})
		return err
	})
	tried("kept", folders(true))
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(streamDir(dir, name)), ".kept"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tried("removed", func(ctx context.Context) error {
		if err := js.DeleteStream(ctx, name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		return nil
	})
	tried("forgotten", folders(false))
}

// Formed reports whether servers are a cluster in which streams can be made: one of them leads and has heard of all, without
// which it does not know what they have room for, and all are up to date. Any goroutine may call it.
func Formed(all []*server.Server) bool {
	leaders, heard, current := 0, 0, 0
	for _, s := range all {
		if s.JetStreamIsLeader() {
			leaders++
			heard = len(s.JetStreamClusterPeers())
		}
		if s.JetStreamIsCurrent() {
			current++
		}
	}
	return leaders == 1 && heard == len(all) && current == len(all)
}

// streamDir is a server's folder of a stream, empty when it has none.
func streamDir(dir, stream string) string {
	found, _ := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", stream)) // the pattern is well formed
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// WaitReady waits until JetStream answers at the server: it is in a cluster that has a leader.
func (p *Proc) WaitReady() {
	p.t.Helper()
	nc, err := nats.Connect(p.URL(), nats.Timeout(helloBound))
	if err != nil {
		p.t.Fatalf("connect to %s: %v", p.URL(), err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		p.t.Fatal(err)
	}
	for until := time.Now().Add(startBound); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Second)
		_, err := js.AccountInfo(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			p.t.Fatalf("JetStream does not answer at %s: %v", p.set.Name, err)
		}
	}
}

// Name is the server's in its cluster.
func (p *Proc) Name() string { return p.set.Name }

// Cluster starts n servers as one JetStream cluster and waits until it has a leader and every server has caught up.
func Cluster(t testing.TB, n int, opts ...Option) *Servers {
	t.Helper()
	ports := routePorts(t, n)
	var routes []string
	for _, p := range ports {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", p))
	}
	c := &Servers{t: t}
	for i, p := range ports {
		s := &Server{t: t, set: newSettings(t, opts)}
		s.set.Name, s.set.RoutePort, s.set.Routes = fmt.Sprintf("n%d", i+1), p, routes
		t.Cleanup(s.Stop)
		s.Restart()
		c.All = append(c.All, s)
	}
	c.WaitReady()
	var dirs []string
	for _, s := range c.All {
		dirs = append(dirs, s.Dir())
	}
	awaitPeers(t, c.JetStream(), dirs)
	return c
}

// WaitReady waits until the running servers have a leader among them and are up to date with it.
func (c *Servers) WaitReady() {
	c.t.Helper()
	for until := time.Now().Add(startBound); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		leaders, current, running := 0, 0, 0
		for _, s := range c.All {
			if s.srv == nil {
				continue
			}
			running++
			if s.srv.JetStreamIsLeader() {
				leaders++
			}
			if s.srv.JetStreamIsCurrent() {
				current++
			}
		}
		if leaders == 1 && current == running {
			return
		}
	}
	c.t.Fatalf("the cluster has no leader after %s", startBound)
}

// URL has the addresses of all servers.
func (c *Servers) URL() string {
	var urls []string
	for _, s := range c.All {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// Conn is a connection to one of the servers that ends with the test.
func (c *Servers) Conn() *nats.Conn {
	c.t.Helper()
	return connect(c.t, c.URL())
}

// JetStream is a JetStream client on a connection of its own that ends with the test.
func (c *Servers) JetStream() jetstream.JetStream {
	c.t.Helper()
	return newJetStream(c.t, c.URL())
}

// Leader is the server that leads a stream, or nil while there is none.
func (c *Servers) Leader(stream string) *Server {
	for _, s := range c.All {
		if s.srv != nil && s.srv.JetStreamIsStreamLeader("$G", stream) {
			return s
		}
	}
	return nil
}

// routePorts are for n servers of a cluster, who must know each other's before they start.
func routePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		ports[i] = Port(t)
	}
	return ports
}
