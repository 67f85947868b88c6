package rig

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams/rights"
	"github.com/seriatim/seriatim/subjects"
)

// NewCluster is New with n server processes, and a proxy on each way between two of them. With one server it is New.
// A replicated queue wants the flag --replicas.
func NewCluster(t testing.TB, n int, flags ...string) *Rig {
	t.Helper()
	return NewWith(t, n, nil, flags...)
}

// NewWith is NewCluster with servers of other settings.
func NewWith(t testing.TB, n int, settings []natstest.Option, flags ...string) *Rig {
	t.Helper()
	r := empty(t)
	known := append(authorization(t), settings...)
	if n == 1 {
		r.Servers = []*natstest.Proc{natstest.Process(t, known...)}
	} else {
		r.ways = map[[2]int]*fleet.Proxy{}
		r.Servers = natstest.Processes(t, n, func(from, to int, addr string) string {
			r.ways[[2]int{from, to}] = r.proxy(addr)
			return strings.TrimPrefix(r.ways[[2]int{from, to}].URL(), "nats://")
		}, known...)
	}
	r.begin(flags)
	return r
}

func (r *Rig) proxy(addr string) *fleet.Proxy {
	r.t.Helper()
	p, err := fleet.NewProxy(addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Close)
	return p
}

// URL has the addresses of all servers, for a user who may do everything.
func (r *Rig) URL() string {
	var all []string
	for _, s := range r.Servers {
		all = append(all, s.URL())
	}
	return strings.Join(all, ",")
}

// ofServer are the ways between a server and its peers.
func (r *Rig) ofServer(i int) (ways []*fleet.Proxy) {
	for pair, way := range r.ways {
		if pair[0] == i || pair[1] == i {
			ways = append(ways, way)
		}
	}
	return ways
}

// Apart cuts a server off from its peers: nothing that either side sends arrives. Clients still reach it.
func (r *Rig) Apart(i int) {
	r.apart.Store(i, true)
	for _, way := range r.ofServer(i) {
		way.Hold(fleet.Up, fleet.Down)
	}
}

// Together ends Apart. What was held arrives now; with anew it is lost, and the servers connect again.
func (r *Rig) Together(i int, anew bool) {
	r.apart.Delete(i)
	for _, way := range r.ofServer(i) {
		if anew {
			way.Break()
		}
		way.Release()
	}
}

// Late delays everything between a server and its peers.
func (r *Rig) Late(i int, d time.Duration) {
	for _, way := range r.ofServer(i) {
		way.Delay(d)
	}
}

// Proxied puts a proxy between a host and each server, before it is started. They stand in the order of the servers.
func (r *Rig) Proxied(h *Host) (proxies []*fleet.Proxy) {
	r.t.Helper()
	var urls []string
	for _, s := range r.Servers {
		p := r.proxy(s.Addr())
		proxies = append(proxies, p)
		urls = append(urls, p.URL())
	}
	h.URL = As(rights.Worker, strings.Join(urls, ","))
	return proxies
}

// Conn is a connection to whichever server answers; it ends with the test and buffers nothing.
func (r *Rig) Conn() *nats.Conn {
	r.t.Helper()
	return r.conn(r.URL())
}

func (r *Rig) conn(url string) *nats.Conn {
	r.t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.PingInterval(time.Second), nats.Timeout(2*time.Second), // a server that was stopped is left soon
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(nc.Close)
	return nc
}

// Raft names what has a leader among the servers: a stream, or a consumer of it.
type Raft struct{ Stream, Consumer string }

// String is the stream, with the consumer after a slash.
func (g Raft) String() string {
	if g.Consumer == "" {
		return g.Stream
	}
	return g.Stream + "/" + g.Consumer
}

// Rafts are those that a queue's jobs depend on.
func Rafts() []Raft {
	q := subjects.Queue(Queue)
	return []Raft{
		{Stream: q.JobsStream()},
		{Stream: q.TurnsStream()},
		{Stream: q.TurnsStream(), Consumer: subjects.TurnsConsumer},
		{Stream: q.ClaimsStream()},
		{Stream: subjects.WorkersStream},
	}
}

// Everywhere is a connection to each server, in their order, each of which knows no other one; they end with the test.
func (r *Rig) Everywhere() (all []*nats.Conn) {
	r.t.Helper()
	for _, s := range r.Servers {
		all = append(all, r.conn(s.URL()))
	}
	return all
}

// askLeader is short, because nobody answers while there is no leader.
const askLeader = 500 * time.Millisecond

// Leader asks who leads, and is -1 when nobody answers at once. It asks no server that is cut off: such a one may still
// take itself for the leader. It may be called from any goroutine.
func (r *Rig) Leader(ctx context.Context, everywhere []*nats.Conn, g Raft) int {
	for i, nc := range everywhere {
		if _, cut := r.apart.Load(i); !cut && nc.IsConnected() {
			if leader := r.leader(ctx, nc, g); leader >= 0 {
				return leader
			}
		}
	}
	return -1
}

func (r *Rig) leader(ctx context.Context, nc *nats.Conn, g Raft) int {
	ctx, cancel := context.WithTimeout(ctx, askLeader)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return -1
	}
	var in *jetstream.ClusterInfo
	if g.Consumer == "" {
		s, err := js.Stream(ctx, g.Stream)
		if err != nil {
			return -1
		}
		in = s.CachedInfo().Cluster
	} else {
		c, err := js.Consumer(ctx, g.Stream, g.Consumer)
		if err != nil {
			return -1
		}
		in = c.CachedInfo().Cluster
	}
	for i, s := range r.Servers {
		if in != nil && s.Name() == in.Leader {
			return i
		}
	}
	return -1
}

// StepDown has a leader give up its office, to a server of choice or, with -1, to anyone. The answer comes before the
// next one is elected.
func (r *Rig) StepDown(ctx context.Context, everywhere []*nats.Conn, g Raft, to int) error {
	subject := "$JS.API.STREAM.LEADER.STEPDOWN." + g.Stream
	if g.Consumer != "" {
		subject = "$JS.API.CONSUMER.LEADER.STEPDOWN." + g.Stream + "." + g.Consumer
	}
	var body []byte
	if to >= 0 {
		body = []byte(`{"placement":{"preferred":"` + r.Servers[to].Name() + `"}}`)
	}
	err := nats.ErrNoServers
	for i, nc := range everywhere {
		if _, cut := r.apart.Load(i); !cut && nc.IsConnected() {
			if _, err = nc.RequestWithContext(ctx, subject, body); err == nil {
				return nil
			}
		}
	}
	return err
}

// Lead makes a server the leader of some of Rafts.
func (r *Rig) Lead(to int, groups ...Raft) {
	r.t.Helper()
	nc := r.Everywhere()
	// Again and again, because one that was just elected may be followed by another one.
	for end := time.Now().Add(Bound); ; time.Sleep(100 * time.Millisecond) {
		all := true
		for _, g := range groups {
			ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Second)
			now := r.Leader(ctx, nc, g)
			if now >= 0 && now != to {
				_ = r.StepDown(ctx, nc, g, to) // asked again until it is so
			}
			cancel()
			all = all && now == to
		}
		if all {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s does not become the leader of %v", r.Servers[to].Name(), groups)
		}
	}
}
