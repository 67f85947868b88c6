package deployments

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
)

// passwords are what nats/users.conf and nats/cluster.conf take from the environment.
var passwords = map[string]string{
	"NATS_OPERATOR_PASSWORD":     "operatorspassword1",
	"NATS_WORKER_CI_PASSWORD":    "workerspassword1",
	"NATS_VIEWER_CI_PASSWORD":    "viewerspassword1",
	"NATS_PUBLISHER_CI_PASSWORD": "publisherspassword1",
	"NATS_SYS_PASSWORD":          "syspassword1",
	"NATS_ROUTE_PASSWORD":        "routepassword1",
}

func setPasswords(t *testing.T) {
	for name, value := range passwords {
		t.Setenv(name, value)
	}
}

// shipped loads a shipped server configuration as nats-server does. Only where it listens and stores is changed.
func shipped(t *testing.T, file string) *server.Options {
	t.Helper()
	o, err := server.ProcessConfigFile(filepath.Join("nats", file))
	if err != nil {
		t.Fatal(err)
	}
	if o.Port != 4222 || o.HTTPPort != 8222 || o.StoreDir == "" || o.SystemAccount != "SYS" {
		t.Errorf("%s: port %d, monitoring %d, folder %q, system account %q", file, o.Port, o.HTTPPort, o.StoreDir, o.SystemAccount)
	}
	o.Host, o.Port, o.HTTPHost, o.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "127.0.0.1", server.RANDOM_PORT
	o.StoreDir, o.NoLog, o.NoSigs = t.TempDir(), true, true
	return o
}

func startServer(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(60 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s
}

// oneServer is the shipped single server.
func oneServer(t *testing.T) *server.Server {
	t.Helper()
	setPasswords(t)
	return startServer(t, shipped(t, "server.conf"))
}

// userURL is where a user of nats/users.conf connects to a server on this port.
func userURL(s *server.Server, user string) string {
	names := map[string]string{
		"operator": "NATS_OPERATOR_PASSWORD", "worker-ci": "NATS_WORKER_CI_PASSWORD", "viewer-ci": "NATS_VIEWER_CI_PASSWORD",
		"publisher-ci": "NATS_PUBLISHER_CI_PASSWORD", "sys": "NATS_SYS_PASSWORD",
	}
	at := net.JoinHostPort("127.0.0.1", fmt.Sprint(s.Addr().(*net.TCPAddr).Port))
	u := url.URL{Scheme: "nats", Host: at, User: url.UserPassword(user, passwords[names[user]])}
	return u.String()
}

// as connects as one of the users; what the server refuses is told to refused, when given.
func as(t *testing.T, s *server.Server, user string, refused func(error)) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := streams.Connect(within(t), streams.Options{URL: userURL(s, user), Name: user, OnError: refused})
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}
