package streams

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/subjects"
)

// Domain is the JetStream domain that a connection of Connect works in when it is not the server's own; else it is empty.
func Domain(nc *nats.Conn) string {
	if d, ok := nc.Opts.CustomDialer.(*dialer); ok { // which is ours, and lives as long as the connection
		return d.domain
	}
	return ""
}

// API is what comes before the subject of a request to JetStream on this connection.
func API(nc *nats.Conn) string { return subjects.PrefixAPI(Domain(nc)) }

// KV is what comes before a bucket's subject, $KV.…, when a key is written on this connection.
func KV(nc *nats.Conn) string { return subjects.PrefixKV(Domain(nc)) }

// JetStream is that of the connection's domain.
func JetStream(nc *nats.Conn, opts ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if d := Domain(nc); d != "" {
		return jetstream.NewWithDomain(nc, d, opts...)
	}
	return jetstream.New(nc, opts...)
}
