package engine

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams/lane"
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

// elsewhere leaves a server that is connected and confirms nothing, such as one that was cut off from its peers: the
// client would stay there for as long as the connection looks well. The next one of its list is tried after half a lease.
func (e *Engine) elsewhere() {
	if e.holder.Session().Phase == lane.SessionStands || e.stopping != nil || e.conn.Status() != nats.CONNECTED {
		e.deafSince = 0
		return
	}
	if e.deafSince == 0 {
		e.deafSince = e.at
	}
	if e.at < e.deafSince+e.lease/2 {
		return
	}
	e.deafSince = 0
	e.opts.Log.Warn().Str("server", e.conn.ConnectedUrlRedacted()).Msg("the server confirms nothing; trying another one")
	e.tasks.Go(func() { _ = e.conn.ForceReconnect() }) // fails only when the connection is closed
}
