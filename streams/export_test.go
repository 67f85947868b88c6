package streams

import (
	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/subjects"
)

// DeadOf reads a letter that is not stored.
func DeadOf(q subjects.Queue, m *nats.Msg) DeadInfo {
	return deadInfo(q, Message{Subject: m.Subject, Header: m.Header, Data: m.Data})
}

// RestoreStream is the protocol alone.
var RestoreStream = restoreStream
