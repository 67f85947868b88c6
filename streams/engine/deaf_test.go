package engine

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// deaf is a way to the server on which nothing is heard from the first message to a subject on, until it is sent again.
type deaf struct {
	to   string
	sent atomic.Int32
	hear chan struct{}
}

// Dial implements nats.CustomDialer.
func (d *deaf) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &deafConn{c, d}, err
}

type deafConn struct {
	net.Conn
	*deaf
}

func (c *deafConn) Write(b []byte) (int, error) {
	for range bytes.Count(b, []byte("PUB "+c.to)) {
		if c.sent.Add(1) == 2 {
			close(c.hear)
		}
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.sent.Load() == 1 {
		<-c.hear
	}
	return n, err
}

// A dead letter that is sent twice, because its answer is late, is answered twice. The job has died once.
func TestADeathIsToldOnce(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	way := &deaf{to: "dead.", hear: make(chan struct{})}
	conn, err := nats.Connect(srv.URL(), nats.ReconnectBufSize(-1), nats.SetCustomDialer(way))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	ev := &events{}
	e, err := Start(t.Context(), Options{
		Conn: conn, Queues: []subjects.Queue{ci}, Worker: "w", Slots: 2, Observe: ev.add, Log: zerolog.Nop(),
		Runner: newRecorder(func(context.Context, *Job) lane.Outcome {
			return lane.Outcome{Cause: lane.CauseFatal, Error: "no such build"}
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, "build.bad", 1)
	empty(t, js, ci.JobsStream())
	eventually(t, "all is answered", func() bool {
		open := make(chan bool, 1)
		e.in.put(item{do: func() {
			waits := e.holder.Lanes() > 0
			for _, a := range e.wire.asks {
				waits = waits || a.kind == askDead
			}
			open <- waits
		}})
		return !<-open
	})
	if dead := ev.of(EventDead); way.sent.Load() < 2 || len(dead) != 1 || dead[0].Error != "no such build" {
		t.Errorf("sent %d times, told %+v", way.sent.Load(), dead)
	}
	stop(t, e)
}
