// Package natstest starts real NATS servers for tests: inside the test's own process (Start), as a process of their own
// that can be killed (Process), and as a cluster (Cluster). All listen on a port of 127.0.0.1 that is theirs until
// the test ends, keep their data in a folder of the test and come back on the same port and folder after Restart.
//
// Invariants: a server is gone, and its folder may be removed, when the test that started it ends. A test binary that
// uses Process calls Main first thing in its TestMain. If a server cannot be started the test fails at once with the
// server's own words. No function here may be called from a goroutine that is not the test's, as testing demands.
package natstest

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

// settings are what both kinds of servers are made from. They travel to a server process as JSON.
type settings struct {
	Port       int    `json:"port"`
	Dir        string `json:"dir"`
	JetStream  bool   `json:"jetstream"`
	User       string `json:"user,omitempty"`
	Password   string `json:"password,omitempty"`
	MaxPayload int32  `json:"max_payload,omitempty"`
	SyncAlways bool   `json:"sync_always,omitempty"`
	MaxStore   int64  `json:"max_store,omitempty"`
	Config     string `json:"config,omitempty"`
	// Of a cluster: the server's name, its port for routes, and the addresses of all.
	Name      string   `json:"name,omitempty"`
	RoutePort int      `json:"route_port,omitempty"`
	Routes    []string `json:"routes,omitempty"`
	// Hidden servers tell nobody where they are: the others and the clients use no way but those they were given.
	Hidden bool `json:"hidden,omitempty"`
}

// Option changes how a server is made.
type Option func(*settings)

// NoJetStream makes a server without JetStream.
func NoJetStream() Option { return func(s *settings) { s.JetStream = false } }

// UserPassword makes a server that demands these credentials. URL has them; Addr is without.
func UserPassword(user, password string) Option {
	return func(s *settings) { s.User, s.Password = user, password }
}

// MaxPayload sets the largest message in bytes.
func MaxPayload(n int32) Option { return func(s *settings) { s.MaxPayload = n } }

// SyncAlways makes the server write every message through to the disk before it answers.
func SyncAlways() Option { return func(s *settings) { s.SyncAlways = true } }

// MaxStore bounds what JetStream keeps on disk, in bytes: beyond it, the server behaves as with a full disk.
func MaxStore(n int64) Option { return func(s *settings) { s.MaxStore = n } }

// Config starts from a server configuration, as text: accounts, permissions, TLS. The address, the folder and the other
// options win over what it says. URL then has the credentials of UserPassword, which must be in the configuration.
func Config(text string) Option { return func(s *settings) { s.Config = text } }

// More adds to the text of Config.
func More(text string) Option { return func(s *settings) { s.Config += text } }

// Dir sets the data folder, for a server that is to find the data of another one. Default: a folder of the test.
func Dir(dir string) Option { return func(s *settings) { s.Dir = dir } }

func newSettings(t testing.TB, opts []Option) settings {
	t.Helper()
	s := settings{Port: Port(t), JetStream: true}
	for _, o := range opts {
		o(&s)
	}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	return s
}

// options are the server's own. NoSigs: signals belong to the test binary.
func (s settings) options() (*server.Options, error) {
	o := &server.Options{Username: s.User, Password: s.Password}
	if s.Config != "" {
		file := filepath.Join(s.Dir, "nats.conf")
		if err := os.WriteFile(file, []byte(s.Config), 0o600); err != nil {
			return nil, err
		}
		var err error
		if o, err = server.ProcessConfigFile(file); err != nil {
			return nil, err
		}
	}
	o.Host, o.Port = "127.0.0.1", s.Port
	o.JetStream, o.StoreDir = s.JetStream, s.Dir
	o.NoLog, o.NoSigs = true, true
	if o.AuthTimeout == 0 {
		o.AuthTimeout = helloBound.Seconds()
	}
	if s.MaxPayload != 0 {
		o.MaxPayload = s.MaxPayload
	}
	if s.SyncAlways {
		o.SyncAlways = true
	}
	if s.MaxStore != 0 {
		o.JetStreamMaxStore = s.MaxStore
	}
	if s.Name != "" {
		o.ServerName = s.Name
		o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: s.RoutePort}
		o.Routes = server.RoutesFromStr(strings.Join(s.Routes, ","))
		if s.Hidden {
			o.Cluster.NoAdvertise, o.Cluster.Advertise = true, nowhere
		}
	}
	return o, nil
}

// helloBound is how long client and server wait for each other's first words: a loaded machine is slow.
const helloBound = 30 * time.Second

// nowhere is an address at which nobody listens.
const nowhere = "127.0.0.1:1"

func (s settings) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

func (s settings) url() string {
	u := url.URL{Scheme: "nats", Host: s.addr()}
	if s.User != "" {
		u.User = url.UserPassword(s.User, s.Password)
	}
	return u.String()
}

// Server is a server inside the test's process. Its methods belong to the test's goroutine.
type Server struct {
	t   testing.TB
	set settings
	srv *server.Server // nil while stopped
}

// Start starts a server and stops it when the test ends.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{t: t, set: newSettings(t, opts)}
	t.Cleanup(s.Stop)
	s.Restart()
	return s
}

// URL is where clients connect, with the credentials when the server demands some.
func (s *Server) URL() string { return s.set.url() }

// Addr is host:port, without credentials.
func (s *Server) Addr() string { return s.set.addr() }

// Dir is the folder that holds the server's data.
func (s *Server) Dir() string { return s.set.Dir }

// NATS is the server itself, for tests that look inside. It changes with each Restart and is nil after Stop.
func (s *Server) NATS() *server.Server { return s.srv }

// Stop ends the server in order and waits until it is gone. Stopping twice is fine.
func (s *Server) Stop() {
	if s.srv == nil {
		return
	}
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	s.srv = nil
}

// Restart stops the server if it runs and starts it with the same port and folder.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	srv, err := s.set.run()
	if err != nil {
		s.t.Fatal(err)
	}
	s.set.Port = srv.Addr().(*net.TCPAddr).Port
	s.srv = srv
}

// Conn is a plain connection that ends with the test.
func (s *Server) Conn() *nats.Conn {
	s.t.Helper()
	return connect(s.t, s.URL())
}

// JetStream is a JetStream client on a connection of its own that ends with the test.
func (s *Server) JetStream() jetstream.JetStream {
	s.t.Helper()
	return newJetStream(s.t, s.URL())
}

func connect(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.Timeout(helloBound), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func newJetStream(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatalf("JetStream client: %v", err)
	}
	return js
}

// LeakOptions name the goroutines that nats-server leaves behind, for goleak in tests that start servers in their own
// process: one clock of the whole package, which now and then outlives the last server.
func LeakOptions() []goleak.Option {
	return []goleak.Option{goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1")}
}
