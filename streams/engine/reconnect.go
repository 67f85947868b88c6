package engine

import (
	"context"

	"github.com/nats-io/nats.go"
)

// watchConnection sees to it that a connection that returns is used at once: the pulls of the old one are over, and
// turns may have got lost with the server that it went to.
func (e *Engine) watchConnection(ctx context.Context) {
	changes := e.conn.StatusChanged(nats.CONNECTED)
	e.tasks.Add(1)
	go func() {
		defer e.tasks.Done()
		defer e.conn.RemoveStatusListener(changes)
		for {
			select {
			case <-ctx.Done():
				return
			case _, open := <-changes:
				if !open {
					return // the connection was closed
				}
				e.in.put(item{do: e.reconnected})
			}
		}
	}()
}

// reconnected asks anew for what the old connection took with it.
func (e *Engine) reconnected() {
	for _, p := range e.pulls {
		p.expires = e.at
	}
	e.expirePulls()
	e.wantSweep("the connection returned")
}
