package streams_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
)

func TestControlOfAWorker(t *testing.T) {
	s := natstest.Start(t)
	ctx := within(t)
	const id = "host.example-x1"
	own := s.Conn()
	stop, err := streams.ServeControl(own, id, func(r streams.ControlRequest) streams.ControlReply {
		switch r.Verb {
		case streams.VerbCancel:
			return streams.ControlReply{OK: true, Jobs: map[uint64]string{r.Seqs[0]: streams.JobRunning, r.Seqs[1]: streams.JobNoted}}
		case streams.VerbQuiet:
			return streams.ControlReply{OK: true, State: streams.StateQuiet, Busy: 2}
		}
		return streams.ControlReply{Error: "what is " + r.Verb + "?", Hint: "upgrade"}
	})
	if err != nil {
		t.Fatal(err)
	}
	nc := natstest.Start(t).Conn() // another system
	if _, err := streams.AskWorker(ctx, nc, id, streams.ControlRequest{Verb: streams.VerbQuiet}); !errors.Is(err, streams.ErrNoAnswer) {
		t.Error(err)
	}
	if r, err := streams.AskWorker(ctx, s.Conn(), id, streams.ControlRequest{Verb: streams.VerbQuiet}); err != nil || r.State != streams.StateQuiet || r.Busy != 2 {
		t.Errorf("%+v %v", r, err)
	}
	r, err := streams.AskWorker(ctx, s.Conn(), id, streams.ControlRequest{Verb: streams.VerbCancel, Queue: "ci", Lane: "build.1", Seqs: []uint64{9, 10}})
	if err != nil || r.Jobs[9] != streams.JobRunning || r.Jobs[10] != streams.JobNoted {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := streams.AskWorker(ctx, s.Conn(), id, streams.ControlRequest{Verb: "dance"}); !errors.Is(err, streams.ErrRefused) || problem.Hint(err) != "upgrade" {
		t.Error(err)
	}
	// What is no request does no harm.
	m, err := s.Conn().Request("control.host%2Eexample-x1", []byte("?"), time.Minute)
	if err != nil || string(m.Data[:11]) != `{"ok":false` {
		t.Errorf("%s %v", m.Data, err)
	}
	stop()
	if err := own.Flush(); err != nil { // else the server may still send it there
		t.Fatal(err)
	}
	if _, err := streams.AskWorker(ctx, s.Conn(), id, streams.ControlRequest{Verb: streams.VerbQuiet}); !errors.Is(err, streams.ErrNoAnswer) {
		t.Error(err)
	}
	for _, bad := range []string{"", "\xff"} {
		if _, err := streams.AskWorker(ctx, s.Conn(), bad, streams.ControlRequest{}); err == nil {
			t.Errorf("%q is a worker", bad)
		}
		if _, err := streams.ServeControl(s.Conn(), bad, nil); err == nil {
			t.Errorf("%q is a worker", bad)
		}
	}
	if _, err := streams.ServeControl(closed(t, s), id, nil); err == nil {
		t.Error("a closed connection serves")
	}
}

// A worker that says that it listens is heard, by whatever connection.
func TestAWorkerIsHeardAtOnce(t *testing.T) {
	s := natstest.Start(t)
	ctx, own, other := within(t), s.Conn(), s.Conn()
	for i := range 200 {
		id := fmt.Sprint("w", i)
		stop, err := streams.ServeControl(own, id, func(streams.ControlRequest) streams.ControlReply { return streams.ControlReply{OK: true} })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := streams.AskWorker(ctx, other, id, streams.ControlRequest{Verb: streams.VerbQuiet}); err != nil {
			t.Fatal(i, err)
		}
		stop()
	}
}

func closed(t *testing.T, s *natstest.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	return nc
}
