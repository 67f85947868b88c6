package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// asking publishes a job and subscribes to its replies.
func asking(t *testing.T, nc *nats.Conn, entity, kind string, header map[string]string) (*nats.Subscription, uint64) {
	t.Helper()
	to := nats.NewInbox()
	sub, err := nc.SubscribeSync(to)
	if err != nil {
		t.Fatal(err)
	}
	e, err := subjects.ParseEntity(entity)
	if err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg(ci.JobSubject(e))
	m.Header.Set(subjects.HeaderKind, kind)
	m.Header.Set(subjects.HeaderReplyTo, to)
	for name, value := range header {
		m.Header.Set(name, value)
	}
	ack, err := jetStream(t, nc).PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return sub, ack.Sequence
}

// reply waits for the next reply.
func reply(t *testing.T, sub *nats.Subscription) streams.Reply {
	t.Helper()
	m, err := sub.NextMsg(60 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r, err := streams.ReadReply(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// byKind answers as the job's kind says.
func byKind(_ context.Context, j *Job) lane.Outcome {
	o := lane.Outcome{StartedAt: time.Now(), Took: 1500 * time.Millisecond, Log: "log of " + j.Header.Kind + "\n"}
	switch j.Header.Kind {
	case "give":
		o.Result = []byte("given")
	case "bytes":
		o.Result = []byte{0xff, 0}
	case "huge":
		o.Result = bytes.Repeat([]byte("x"), 2<<20)
	case "progress":
		j.Progress(40, 100, "uploading")
		for range 1000 { // too soon to be told, but for what a host that stands still puts off
			j.Progress(41, 100, "still uploading")
		}
	case "flaky":
		if j.Attempt < 3 {
			o.Cause, o.Error = lane.CauseFailed, fmt.Sprint("attempt ", j.Attempt)
		}
	case "fatal":
		o.Cause, o.Error = lane.CauseFatal, "no such file"
	}
	return o
}

// found waits for the record of a job: it is stored beside the reply.
func found(t *testing.T, js jetstream.JetStream, seq uint64) streams.Finished {
	t.Helper()
	var f streams.Finished
	until(t, fmt.Sprint("the record of job ", seq), func() (ok bool) {
		var err error
		f, err = streams.FindFinished(t.Context(), js, ci, streams.JobRef{Seq: seq})
		return err == nil
	})
	return f
}

func TestReplies(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	e := startEngine(t, srv.URL(), newRecorder(byKind), 4)

	sub, seq := asking(t, nc, "a.1", "give", map[string]string{subjects.HeaderMsgID: "my id"})
	r := reply(t, sub)
	if r.Outcome != "done" || r.Result != "given" || r.Encoding != "" || r.ID != "my id" || r.Seq != seq || r.Entity != "a.1" || r.Kind != "give" || r.Queue != "ci" || r.Attempts != 1 || r.Fence == 0 {
		t.Errorf("%+v", r)
	}
	// Somebody waits, so it is kept although nothing went wrong.
	if f := found(t, js, seq); f.Outcome != "done" || f.ID != "my id" || f.TookMS != 1500 || f.Log != "log of give\n" || f.StartedAt.IsZero() || f.PublishedAt.IsZero() || f.Fence != r.Fence || f.Cause != "" {
		t.Errorf("%+v", f)
	}

	sub, _ = asking(t, nc, "a.1", "bytes", nil)
	if body, err := reply(t, sub).Body(); err != nil || !bytes.Equal(body, []byte{0xff, 0}) {
		t.Errorf("%v %v", body, err)
	}
	sub, _ = asking(t, nc, "a.1", "huge", nil)
	if r := reply(t, sub); r.Outcome != "done" || r.Result != "" || r.ResultBytes != 2<<20 {
		t.Errorf("%+v", r)
	}
	sub, _ = asking(t, nc, "a.1", "progress", nil)
	if r := reply(t, sub); r.Outcome != "progress" || r.At != 40 || r.Of != 100 || r.Note != "uploading" || r.Final() {
		t.Errorf("%+v", r)
	}
	more, r := 0, reply(t, sub)
	for ; r.Outcome == "progress"; r = reply(t, sub) {
		more++
	}
	if r.Outcome != "done" || more > 100 {
		t.Errorf("%d times more, then %+v", more, r)
	}

	sub, seq = asking(t, nc, "a.1", "flaky", nil)
	for attempt := range 2 {
		if r := reply(t, sub); r.Outcome != "retry" || r.Error != fmt.Sprint("attempt ", attempt+1) || r.RetryAt.IsZero() || r.Attempts != attempt+1 {
			t.Errorf("%+v", r)
		}
	}
	if r := reply(t, sub); r.Outcome != "done" || r.Error != "" || r.Attempts != 3 {
		t.Errorf("%+v", r)
	}
	if f := found(t, js, seq); f.Attempts != 3 || len(f.Tries) != 2 || f.Tries[0].Error != "attempt 1" || f.Tries[1].Log != "log of flaky\n" || f.Error != "" {
		t.Errorf("%+v", f)
	}

	sub, seq = asking(t, nc, "a.1", "fatal", nil)
	if r := reply(t, sub); r.Outcome != "dead" || r.Cause != "fatal" || r.Error != "no such file" {
		t.Errorf("%+v", r)
	}
	if f := found(t, js, seq); f.Outcome != "dead" || f.Cause != "fatal" || f.Error != "no such file" || f.Log != "log of fatal\n" || len(f.Tries) != 1 || f.Fence != f.Tries[0].Fence {
		t.Errorf("%+v", f)
	}
	dead, err := streams.ListDead(t.Context(), js, ci, streams.DeadFilter{})
	if err != nil || len(dead) != 1 || len(dead[0].Tries) != 1 || dead[0].Tries[0].Log != "log of fatal\n" || dead[0].Tries[0].Fence == 0 || dead[0].Tries[0].Start == 0 {
		t.Errorf("%+v, %v", dead, err)
	}

	sub, seq = asking(t, nc, "h.1", "fatal", map[string]string{subjects.HeaderOnDead: streams.DeadHalt})
	if r := reply(t, sub); r.Outcome != "halted" || r.Error != "no such file" || !r.Final() {
		t.Errorf("%+v", r)
	}
	if f := found(t, js, seq); f.Outcome != "halted" {
		t.Errorf("%+v", f)
	}
	sub, _ = asking(t, nc, "p.1", "flaky", map[string]string{subjects.HeaderOnFailure: streams.FailurePass})
	if r := reply(t, sub); r.Outcome != "retry" || r.Error != "attempt 1" {
		t.Errorf("%+v", r)
	}
	stop(t, e)
}

// A publisher aims workers at nothing but inboxes and results.
func TestNoReplyElsewhere(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	makeQueue(t, nc)
	var told linesOf
	e := startLogging(t, srv.URL(), newRecorder(byKind), &told)
	for _, to := range []string{"jobs.ci.build.9", "private.commands"} {
		sub, err := nc.SubscribeSync(to)
		if err != nil {
			t.Fatal(err)
		}
		after, _ := asking(t, nc, "a.1", "progress", map[string]string{subjects.HeaderReplyTo: to})
		_ = after.Unsubscribe()
		last, _ := asking(t, nc, "a.1", "give", nil) // the same lane: the first one is over by then
		if r := reply(t, last); r.Outcome != "done" {
			t.Errorf("%+v", r)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if n, _, err := sub.Pending(); err != nil || n != 0 {
			t.Errorf("%s got %d messages, %v", to, n, err)
		}
	}
	stop(t, e)
	if n := told.count("nothing is sent to this subject"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

func TestWhatAHistoryKeeps(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	rec := newRecorder(byKind)
	for history, want := range map[string][]string{
		streams.HistoryFailures: {"fatal dead", "flaky done"},
		streams.HistoryAll:      {"fatal dead", "flaky done", "give done"},
		streams.HistoryOff:      nil,
	} {
		if _, _, err := streams.EditQueue(t.Context(), js, ci, func(p *streams.Policy) { p.History = history }); err != nil {
			t.Fatal(err)
		}
		before := len(outcomes(t, js))
		e := startEngine(t, srv.URL(), rec, 4)
		for _, kind := range []string{"give", "flaky", "fatal"} {
			if _, _, err := streams.Publish(t.Context(), nc, ci, subjects.Entity{Type: "a", ID: kind}, streams.PublishOptions{Kind: kind}); err != nil {
				t.Fatal(err)
			}
		}
		empty(t, js, ci.JobsStream())
		stop(t, e)
		recorded(t, nc)
		got := outcomes(t, js)[before:]
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", history, got, want)
		}
	}
}

// recorded waits until the server has stored the records that it was sent, of which nobody gets an answer: a write that it
// refuses is refused in its turn.
func recorded(t *testing.T, nc *nats.Conn) {
	t.Helper()
	m := nats.NewMsg(ci.History("a.refused"))
	m.Header.Set(nats.ExpectedLastSeqHdr, "1000000")
	if answer, err := nc.RequestMsg(m, 60*time.Second); err != nil || !strings.Contains(string(answer.Data), "error") {
		t.Fatal(answer, err)
	}
}

func outcomes(t *testing.T, js jetstream.JetStream) (list []string) {
	t.Helper()
	all, err := streams.ListFinished(t.Context(), js, ci, streams.FinishedFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		list = append(list, f.Kind+" "+f.Outcome)
	}
	return list
}

// A queue of an earlier version has no history: that is told once, and jobs go on.
func TestAQueueWithoutHistory(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	if err := js.DeleteStream(t.Context(), ci.HistoryStream()); err != nil {
		t.Fatal(err)
	}
	var told linesOf
	e := startLogging(t, srv.URL(), newRecorder(byKind), &told)
	for range 3 {
		sub, _ := asking(t, nc, "a.1", "fatal", nil)
		if r := reply(t, sub); r.Outcome != "dead" {
			t.Errorf("%+v", r)
		}
	}
	until(t, "the word about it", func() bool { return told.count("the queue has no history") == 1 })
	// Made later, it is used without a restart.
	if _, _, err := streams.EditQueue(t.Context(), js, ci, func(*streams.Policy) {}); err != nil {
		t.Fatal(err)
	}
	sub, seq := asking(t, nc, "a.1", "give", nil)
	reply(t, sub)
	found(t, js, seq)
	stop(t, e)
	if n := told.count("the queue has no history"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}

// linesOf collects a log.
type linesOf struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *linesOf) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *linesOf) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

func startLogging(t *testing.T, url string, r Runner, to *linesOf) *Engine {
	t.Helper()
	e, err := Start(t.Context(), Options{
		Conn: connect(t, url), Queues: []subjects.Queue{ci}, Worker: "w-1", Slots: 4, Runner: r, Log: zerolog.New(to),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Reports that come for a job that nobody can name do no harm.
func TestReportOfAJobThatCannotBeUsed(t *testing.T) {
	srv := natstest.Start(t)
	nc := connect(t, srv.URL())
	js := makeQueue(t, nc)
	e := startEngine(t, srv.URL(), newRecorder(nil), 4)
	m := nats.NewMsg("jobs.ci.build.1")
	m.Header.Set(subjects.HeaderTimeout, "soon")
	ack, err := js.PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if f := found(t, js, ack.Sequence); f.Outcome != "dead" || f.Cause != "invalid" || f.ID != fmt.Sprint("ci-", ack.Sequence) || f.Entity != "build.1" || !strings.Contains(f.Error, "Job-Timeout") {
		t.Errorf("%+v", f)
	}
	if ack, err = js.Publish(t.Context(), "jobs.ci.build.a%2fb", nil); err != nil { // lower case is not canonical
		t.Fatal(err)
	}
	if f := found(t, js, ack.Sequence); f.Outcome != "dead" || f.Entity != "build.a%2fb" {
		t.Errorf("%+v", f)
	}
	if _, err := streams.FindFinished(t.Context(), js, ci, streams.JobRef{Seq: 99}); !errors.Is(err, streams.ErrNotFound) {
		t.Error(err)
	}
	stop(t, e)
}
