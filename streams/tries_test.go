package streams_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

func tries(n int, log string) []lane.Try {
	var list []lane.Try
	for i := range n {
		list = append(list, lane.Try{
			Worker: "host-1.s", Fence: uint64(i + 1), Start: 1_000, End: 2_000, Cause: "failed", Error: fmt.Sprint("error ", i, " ü"), Log: log,
		})
	}
	return list
}

func TestADeadLetterTellsOfEachAttempt(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	seq, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{Data: []byte("body")})
	if err != nil {
		t.Fatal(err)
	}
	want := tries(3, "one\r\ntwo\n\x00")
	die(t, js, seq, streams.Death{Cause: "failed", Attempts: 3, Tries: want, Room: js.Conn().MaxPayload()})
	d, job, err := streams.GetDead(ctx, js, ci, 1)
	if err != nil || string(job.Data) != "body" {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, d.Tries); diff != "" {
		t.Fatal(diff)
	}
	if list, err := streams.ListDead(ctx, js, ci, streams.DeadFilter{}); err != nil || len(list[0].Tries) != 3 {
		t.Fatal(err)
	}
}

// What does not fit goes: logs first, the oldest before the newest; and a job of the largest size can be stored.
func TestTriesTakeTheRoomThatThereIs(t *testing.T) {
	letter := func(body int, room int64, list []lane.Try) streams.DeadInfo {
		t.Helper()
		m := streams.DeadMessage(ci, streams.Message{Subject: "jobs.ci.build.1", Seq: 9, Data: make([]byte, body)}, streams.Death{
			Cause: strings.Repeat("c", 999), Error: strings.Repeat("e", 9999), Worker: strings.Repeat("w", 999), History: strings.Repeat("h", 9999),
			Attempts: 1 << 30, PublishedAt: time.Now(), Tries: list, Room: room,
		})
		header := len("NATS/1.0\r\n\r\n")
		for name, values := range m.Header {
			header += len(name) + len(values[0]) + len(": \r\n")
		}
		if size := int64(header + body); room > 0 && size > room || header > 60<<10 {
			t.Fatalf("a letter of %d bytes, with headers of %d", size, header)
		}
		return streams.DeadOf(ci, m)
	}

	long := strings.Repeat("x", 400)
	if d := letter(100, 1<<20, tries(10, long)); len(d.Tries) != 10 || d.Tries[0].Log == "" || d.Tries[9].Log != long {
		t.Fatalf("%+v", d.Tries)
	}
	if d := letter(100, 1<<20, tries(10, strings.Repeat("\x1b", 400))); len(d.Tries) != 10 || d.Tries[0].Log != "" || d.Tries[9].Log == "" || d.Tries[0].Error == "" {
		t.Fatalf("%+v", d.Tries)
	}
	// The largest job that the server takes, with a death of the greatest length.
	if d := letter(64<<10-4096, 64<<10, tries(10, long)); len(d.Tries) == 0 || d.Tries[len(d.Tries)-1].Fence != 10 {
		t.Fatalf("%+v", d.Tries)
	}
	if d := letter(100, 0, tries(10, long)); len(d.Tries) == 0 || d.Tries[len(d.Tries)-1].Fence != 10 {
		t.Fatalf("%+v", d.Tries)
	}
	if d := letter(64<<10-3584, 64<<10, tries(10, long)); len(d.Tries) == 0 || d.Tries[0].Log != "" {
		t.Fatalf("%+v", d.Tries)
	}
}

// What a job was charged with in earlier places of its queue ends with its death.
func TestRetryBeginsAnew(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	if _, err := js.Publish(ctx, "jobs.ci.build.1", nil); err != nil {
		t.Fatal(err)
	}
	m, err := streams.GetMessage(ctx, js, "JOBS_ci", 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Header = map[string][]string{streams.HeaderCarried: {`{"counts":{"attempts":4}}`}, "Own": {"1"}}
	if _, err := js.PublishMsg(ctx, streams.DeadMessage(ci, m, streams.Death{Attempts: 5, Tries: tries(2, "")})); err != nil {
		t.Fatal(err)
	}
	if n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	again, err := streams.GetMessage(ctx, js, "JOBS_ci", 2)
	if err != nil || len(again.Header["Own"]) != 1 || again.Header[streams.HeaderCarried] != nil || again.Header[streams.HeaderDeadTries] != nil {
		t.Fatalf("%v: %v", again.Header, err)
	}
}

// Limits of age and count, on a real server: the oldest go, and none is refused.
func TestDeadLettersAreBounded(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci, func(p *streams.Policy) { p.DeadMaxMsgs = 3 })
	for i := range 5 {
		seq, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{ID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		die(t, js, seq, streams.Death{Cause: "failed"})
	}
	list, err := streams.ListDead(ctx, js, ci, streams.DeadFilter{})
	if err != nil || len(list) != 3 || list[0].ID != "2" || list[2].ID != "4" {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, _, err := streams.EditQueue(ctx, js, ci, func(p *streams.Policy) { p.DeadMaxAge = time.Second }); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(time.Minute); stream(t, js, "DEAD_ci").State.Msgs > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("old letters stay")
		}
	}
	if info, err := streams.QueueInfo(ctx, js, ci); err != nil || len(info.Drift) != 0 {
		t.Fatal(err, info.Drift)
	}
}
