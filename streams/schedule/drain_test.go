package schedule

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// The server's word that a pull is over, when it comes late, is not taken for that of the next one: with each such word
// there would be one pull more at a time, for ever.
func TestALateEndOfAPullEndsNoOther(t *testing.T) {
	srv := natstest.Start(t)
	nc := srv.Conn()
	asked := make(chan *nats.Msg, 16)
	if _, err := nc.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT."+ci.ScheduleStream()+"."+streams.DueConsumer, asked); err != nil {
		t.Fatal(err)
	}
	over := func(m *nats.Msg) {
		t.Helper()
		if err := nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"408"}}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, end := context.WithCancel(within(t))
	d := &drainer{nc: nc, js: srv.JetStream(), q: ci, log: zerolog.Nop()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.run(ctx)
	}()
	first, second := <-asked, <-asked
	since := time.Now()
	over(first)
	select {
	case <-asked:
		if time.Since(since) < pullLife {
			t.Error("the second pull was given up with the first")
		}
	case <-time.After(pullLife / 4):
		over(second)
		<-asked
	}
	end()
	<-done
}

// A due job that comes together with the end of its pull does not hide it: the next pull follows at once.
func TestTheEndOfAPullBehindADueJob(t *testing.T) {
	in := make(chan *nats.Msg, 4)
	job, word := &nats.Msg{Subject: "due.ci.build.1", Reply: "$JS.ACK.x"}, &nats.Msg{Subject: "inbox.2"}
	for _, c := range []struct {
		behind []*nats.Msg
		jobs   int
		end    bool
	}{
		{nil, 1, false},
		{[]*nats.Msg{job, word}, 2, true},
		{[]*nats.Msg{word, job}, 2, true},
		{[]*nats.Msg{{Subject: "inbox.1"}, job}, 2, false}, // of the pull before
	} {
		for _, m := range c.behind {
			in <- m
		}
		if batch, end := (&drainer{}).more(job, in, "inbox.2"); len(batch) != c.jobs || end != c.end || len(in) != 0 {
			t.Errorf("%d behind: %d jobs, end %v", len(c.behind), len(batch), end)
		}
	}
}
