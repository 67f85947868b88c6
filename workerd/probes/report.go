// Package probes answers what a platform asks of a workerd over HTTP: whether it lives, is ready, has started, what it
// does, and its metrics.
//
//	/livez     200 as long as a restart would mend nothing: also when quiet, stopping, or without NATS
//	/readyz    200 when it takes jobs: not when starting, quiet or stopping, disconnected, or without a child
//	/startupz  200 once it was up, for ever
//	/statusz   a Report as JSON
//	/metrics   the Prometheus text format
//
// A probe never goes through a queue, and never waits for anything: a worker whose slots are all busy lives, and a
// probe that has to wait would call it dead. A probe that fails says why, a reason on each line.
//
// # On failure
//
// An address that is busy is tried for a while, because a predecessor may be about to leave it; then it is an error
// that names the address. A server that ends by itself is told to OnError.
package probes

import (
	"time"

	"github.com/seriatim/seriatim/streams"
)

// Report is what /statusz answers: the session's record as it would be written now, and more. The keys are stable.
type Report struct {
	streams.SessionRecord
	// EnginePID is the process that answers; pid is the top one, to be signalled.
	EnginePID int `json:"engine_pid"`
	// NotLive and NotReady say why the probes fail; empty when they do not.
	NotLive  []string `json:"not_live,omitempty"`
	NotReady []string `json:"not_ready,omitempty"`
	Live     bool     `json:"live"`
	Ready    bool     `json:"ready"`
	Started  bool     `json:"started"`
	// Idle says that nothing runs and that nothing will be taken.
	Idle bool `json:"idle"`
	NATS NATS `json:"nats"`
}

// NATS is how the connection is.
type NATS struct {
	Connected bool `json:"connected"`
	// Since is when it came, or went; zero while there was none yet.
	Since time.Time `json:"since,omitzero"`
	// Server is the name of the server that it goes to.
	Server string `json:"server,omitempty"`
}

// Source knows how the workerd is. Its methods may be called from any goroutine and never wait.
type Source interface {
	Report() Report
	// NotLive and NotReady are the reasons against; none is good.
	NotLive() []string
	NotReady() []string
	Started() bool
}
