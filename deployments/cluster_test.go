package deployments

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// Three servers make a cluster of the shipped file, in which the roles work as on one.
func TestClusterConfiguration(t *testing.T) {
	setPasswords(t)
	var routes []string
	for range 3 {
		routes = append(routes, fmt.Sprintf("nats://route:%s@127.0.0.1:%d", passwords["NATS_ROUTE_PASSWORD"], natstest.Port(t)))
	}
	list, err := json.Marshal(routes)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NATS_ROUTES", string(list))
	var all []*server.Server
	for i := range 3 {
		t.Setenv("SERVER_NAME", fmt.Sprintf("nats-%d", i))
		o := shipped(t, "cluster.conf")
		if o.ServerName != fmt.Sprintf("nats-%d", i) || o.Cluster.Port != 6222 || len(o.Routes) != 3 {
			t.Fatalf("server %q, port for routes %d, routes %v", o.ServerName, o.Cluster.Port, o.Routes)
		}
		o.Cluster.Host = "127.0.0.1"
		o.Cluster.Port, _ = strconv.Atoi(o.Routes[i].Port()) // of the test
		all = append(all, startServer(t, o))
	}
	eventually(t, "a leader that has heard of all, and all up to date", func() bool { return natstest.Formed(all) })
	policy := streams.DefaultPolicy()
	policy.Replicas = 3
	rolesCanDoTheirWork(t, all[1], policy)
}
