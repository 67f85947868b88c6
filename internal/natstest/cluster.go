package natstest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Servers are the servers of one cluster, inside the test's process. Each can be stopped and restarted on its own.
type Servers struct {
	t   testing.TB
	All []*Server
}

// Cluster starts n servers as one JetStream cluster and waits until it has a leader and every server has caught up.
func Cluster(t testing.TB, n int, opts ...Option) *Servers {
	t.Helper()
	ports := freePorts(t, n)
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

// freePorts are ports that were free a moment ago: servers of a cluster must know each other's before they start.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:gocritic // all at the end, so that no port comes twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
