package rig

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams/rights"
	"github.com/seriatim/seriatim/subjects"
)

// Hub is the JetStream domain of the server behind a leaf node.
const Hub = "hub"

// NewLeaf is New with a leaf node before the server. It has a JetStream domain of its own, and users with the rights that
// are printed for it; all workerds and commands are connected to it. The queue is in the server's domain.
func NewLeaf(t testing.TB, flags ...string) *Rig {
	t.Helper()
	r := empty(t)
	port := natstest.Port(t)
	of := func(domain, leafnodes string) natstest.Option {
		return natstest.More(fmt.Sprintf("\njetstream { domain: %s }\nleafnodes { %s }\n", domain, leafnodes))
	}
	r.Servers = []*natstest.Proc{natstest.Process(t, append(authorization(t), of(Hub, fmt.Sprintf("listen: \"127.0.0.1:%d\"", port)))...)}
	remote := fmt.Sprintf("remotes: [ { url: \"nats-leaf://%s:%s@127.0.0.1:%d\", account: %s } ]", adminUser, password, port, rights.StreamsAccount)
	r.leaf = natstest.Process(t, append(authorization(t, "--js-domain", Hub), of("leaf", remote))...)
	r.AwaitHub()
	r.begin(flags)
	return r
}

// AwaitHub waits until the leaf node has joined.
func (r *Rig) AwaitHub() {
	r.t.Helper()
	nc, err := nats.Connect(r.Leaf())
	if err != nil {
		r.t.Fatal(err)
	}
	defer nc.Close()
	for end := time.Now().Add(Bound); ; time.Sleep(20 * time.Millisecond) {
		_, err := nc.Request(subjects.PrefixAPI(Hub)+"INFO", nil, time.Second)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			r.t.Fatal("the leaf node has not joined: ", err)
		}
	}
}

// entry is where workerds and commands connect.
func (r *Rig) entry() (url, domain string) {
	if r.leaf != nil {
		return r.leaf.URL(), Hub
	}
	return r.URL(), ""
}

// Leaf is the address of the leaf node, for a user who may do everything.
func (r *Rig) Leaf() string { return r.leaf.URL() }
