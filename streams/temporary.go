package streams

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// codesTemporary are the server's words for: not now.
var codesTemporary = map[jetstream.ErrorCode]bool{
	codeNoLeader: true,
	10009:        true, // a peer is not ready
	10004:        true, // the cluster is incomplete
}

// IsTemporary says that waiting may cure an error: the cluster elects a leader, a server starts, the connection is down,
// an answer got lost. What is unknown, refused or full is not temporary.
func IsTemporary(err error) bool {
	if codesTemporary[apiCode(err)] {
		return true
	}
	for _, cure := range []error{
		nats.ErrTimeout, context.DeadlineExceeded, nats.ErrDisconnected, nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, ErrNoServer,
	} {
		if errors.Is(err, cure) {
			return true
		}
	}
	return false
}
