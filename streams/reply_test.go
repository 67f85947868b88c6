package streams_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/streams"
)

func TestReplyGoesToInboxesAndResultsAlone(t *testing.T) {
	r := streams.Reply{Queue: "ci", Outcome: "done"}
	for to, sent := range map[string]bool{"_INBOX.a.1": true, "results.ci": true, "claims.ci.build.1": false, "jobs.ci.build.1": false, "": false} {
		if m := r.Message(to, 0); (m != nil) != sent || sent && m.Subject != to {
			t.Errorf("%q: %v", to, m)
		}
	}
}

func TestReplyJSON(t *testing.T) {
	r := streams.Reply{
		Queue: "ci", Entity: "build.1", Kind: "archive", ID: "a", Seq: 9, Outcome: "dead", Cause: "failed", Error: "disk\nfull <1%>",
		Attempts: 5, Worker: "w", Fence: 7,
	}
	const want = `{"v":1,"queue":"ci","entity":"build.1","kind":"archive","id":"a","seq":9,"outcome":"dead","cause":"failed","error":"disk full <1%>","attempts":5,"worker":"w","fence":7}`
	if got := string(r.Message("_INBOX.a", 0).Data); got != want {
		t.Fatalf("the contract changed:\n%s\n%s", got, want)
	}
	for outcome, final := range map[string]bool{"done": true, "dead": true, "halted": true, "cancelled": true, "progress": false, "retry": false, "new": false} {
		if (streams.Reply{Outcome: outcome}).Final() != final {
			t.Errorf("%s: final is %v", outcome, !final)
		}
	}
	if _, err := streams.ReadReply([]byte("no")); err == nil {
		t.Error("garbage was read")
	}
	if r, err := streams.ReadReply([]byte(`{"v":9,"outcome":"done","new":1,"at":1.5}`)); err != nil || r.Outcome != "done" || r.At != 1.5 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := (streams.Reply{Result: "x", Encoding: "zip"}).Body(); err == nil {
		t.Error("an unknown encoding was read")
	}
}

func TestReplyCarriesAnyResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		if rapid.Bool().Draw(t, "text") {
			body = []byte(rapid.String().Draw(t, "words"))
		}
		r := streams.Reply{Outcome: "done", Note: rapid.String().Draw(t, "note")}
		r.SetResult(body)
		got, err := streams.ReadReply(r.Message("_INBOX.a", 0).Data)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := got.Body(); err != nil || !bytes.Equal(back, body) {
			t.Fatalf("%q came back as %q: %v", body, back, err)
		}
	})
}

func TestAResultThatIsTooLargeIsLeftOut(t *testing.T) {
	r := streams.Reply{Outcome: "done"}
	r.SetResult([]byte(strings.Repeat("x", 2000)))
	got, err := streams.ReadReply(r.Message("_INBOX.a", 1000).Data)
	if err != nil || got.Result != "" || got.ResultBytes != 2000 || !got.Final() {
		t.Fatalf("%+v, %v", got, err)
	}
	r.SetResult([]byte(strings.Repeat("\xff", 2000)))
	if got, _ := streams.ReadReply(r.Message("_INBOX.a", 1000).Data); got.ResultBytes != 2000 || got.Encoding != "" {
		t.Fatalf("%+v", got)
	}
	r = streams.Reply{Outcome: "retry", RetryAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if text, _ := json.Marshal(r); !strings.Contains(string(text), `"retry_at":"2026-01-02T03:04:05Z"`) {
		t.Fatalf("%s", text)
	}
}
