package deployments

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/streams"
)

// Three servers make a cluster of the shipped file, in which the roles work as on one.
func TestClusterConfiguration(t *testing.T) {
	setPasswords(t)
	var routes []string
	var listeners []net.Listener
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		routes = append(routes, fmt.Sprintf("nats://route:%s@%s", passwords["NATS_ROUTE_PASSWORD"], l.Addr()))
	}
	list, err := json.Marshal(routes)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_ROUTES", string(list))
	for _, l := range listeners { // only now, so that no port comes twice
		_ = l.Close() // it only kept the port
	}
	var all []*server.Server
	for i := range 3 {
		t.Setenv("SERVER_NAME", fmt.Sprintf("nats-%d", i))
		o := shipped(t, "cluster.conf")
		if o.ServerName != fmt.Sprintf("nats-%d", i) || o.Cluster.Port != 6222 || len(o.Routes) != 3 {
			t.Fatalf("server %q, port for routes %d, routes %v", o.ServerName, o.Cluster.Port, o.Routes)
		}
		o.Cluster.Host = "127.0.0.1"
		o.Cluster.Port, _ = strconv.Atoi(o.Routes[i].Port()) // it came from a listener
		all = append(all, startServer(t, o))
	}
	eventually(t, "a leader, and all up to date", func() bool {
		leaders, current := 0, 0
		for _, s := range all {
			if s.JetStreamIsLeader() {
				leaders++
			}
			if s.JetStreamIsCurrent() {
				current++
			}
		}
		return leaders == 1 && current == 3
	})
	policy := streams.DefaultPolicy()
	policy.Replicas = 3
	rolesCanDoTheirWork(t, all[1], policy)
}
