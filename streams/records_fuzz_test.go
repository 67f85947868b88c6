package streams

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// longestError bounds what a record of somebody else's making can do to a log line: its own size, twice, and some words.
const longestError = 1 << 10

func briefly(t *testing.T, err error, input int) {
	t.Helper()
	if n := len(err.Error()); n > longestError+8*input {
		t.Errorf("an error of %d bytes about %d", n, input)
	}
}

// What can be read of a session's record is written and read again as the same; a newer one decides nothing.
func FuzzDecodeSession(f *testing.F) {
	for _, r := range []SessionRecord{
		{},
		{
			Session: "s", Worker: "w", State: StateRunning, LeaseMS: 15000, Queues: []string{"ci"}, BusyByQueue: map[string]int{"ci": 1},
			Children: []ChildRecord{{PID: 1, Pool: "p", Jobs: 1}}, StartedAt: time.Unix(1, 0).UTC(), FirstSeq: 7,
		},
	} {
		body, err := r.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"v":99,"session":"s","state":"dead"}`))
	f.Add([]byte(`{"v":1,"queues":null,"children":[{"pid":-1}],"lease_ms":-5}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := DecodeSession(value)
		if err != nil {
			briefly(t, err, len(value))
			if r.V <= version.Protocol && errors.Is(err, ErrNewerRecord) {
				t.Errorf("version %d is called newer", r.V)
			}
			return
		}
		if r.V > version.Protocol {
			t.Fatalf("version %d is taken for one's own", r.V)
		}
		if r.Final() && r.Living() {
			t.Error("it is over and living")
		}
		body, err := r.Encode()
		if err != nil {
			return // a time that JSON cannot say
		}
		again, err := DecodeSession(body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		twice, err := again.Encode()
		if err != nil || string(twice) != string(body) {
			t.Errorf("%s\nbecame\n%s, %v", body, twice, err)
		}
	})
}

// A policy out of a stream's metadata is one that could have been written, or an error; it is written back as the same.
func FuzzPolicyMetadata(f *testing.F) {
	f.Add("1", DefaultPolicy().text())
	f.Add("1", `{"lease":"15s","max_attempts":5}`)
	f.Add("99", "")
	f.Add("", "{}")
	f.Add("1", `{"lease":-1,"backoff":{"base":1e400}}`)
	f.Fuzz(func(t *testing.T, schema, policy string) {
		cfg := jetstream.StreamConfig{Name: "JOBS_ci", Subjects: []string{"jobs.ci.*.*"}, Metadata: map[string]string{MetaSchema: schema, MetaPolicy: policy}}
		_, p, err := schemaOf("read", "ci", &cfg)
		if err != nil {
			briefly(t, err, len(schema)+len(policy))
			if !errors.Is(err, ErrNotOurs) && !errors.Is(err, ErrNewerSchema) {
				t.Errorf("%v", err)
			}
			return
		}
		if err := p.Validate(); err != nil {
			t.Fatalf("read as good: %v", err)
		}
		if again := p.text(); again == "" {
			t.Error("it cannot be written")
		} else {
			cfg.Metadata[MetaPolicy] = again
			_, q, err := schemaOf("read", "ci", &cfg)
			if err != nil || !q.Equal(p) {
				t.Errorf("%+v became %+v, %v", p, q, err)
			}
		}
		for attempt := range 70 {
			if d := p.Delay(attempt, func() float64 { return .5 }); d < 0 || d > p.Backoff.Max {
				t.Errorf("the delay after attempt %d is %s", attempt, d)
			}
		}
	})
}

// A claim that comes out of a backup is one under which nobody runs anything, of this queue.
func FuzzSavedClaim(f *testing.F) {
	line := func(subject string, r lane.Record) []byte {
		text, err := json.Marshal(savedClaim{subject, r.Encode()})
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	f.Add(line("claims.ci.build.1", lane.Record{State: lane.Waiting, Job: 1, Counts: lane.Counts{Attempts: 1}}))
	f.Add(line("claims.ci.build.1", lane.Record{State: lane.Running, Job: 1, Counts: lane.Counts{Lost: 1}, Stolen: true}))
	f.Add(line("claims.mail.build.1", lane.Record{State: lane.Halted, Job: 1}))
	f.Add([]byte(`{"subject":"turns.ci.build.1","record":{"v":1,"state":"halted"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, r, err := decodeSavedClaim("ci", text)
		if err != nil {
			briefly(t, err, len(text))
			return
		}
		if r.State == lane.Running || r.State == lane.Held || r.State == lane.Done {
			t.Errorf("it comes back as %s", r.State)
		}
		if prefix, q, _, err := subjects.ParseSubject(c.Subject); err != nil || prefix != subjects.PrefixClaims || q != "ci" {
			t.Errorf("subject %q", c.Subject)
		}
		if again, keep := restored(r); !keep || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v became %+v", r, again)
		}
	})
}

// A manifest names files of its own folder, whatever it says.
func FuzzBackupManifest(f *testing.F) {
	f.Add([]byte(`{"v":1,"queue":"ci","claims":{"file":"claims.jsonl"},"streams":[{"name":"JOBS_ci","file":"JOBS_ci.snapshot","config":{"name":"JOBS_ci"}}]}`))
	f.Add([]byte(`{"v":1,"queue":"ci","claims":{"file":"../x"},"streams":[{"name":"../JOBS_ci","file":"../JOBS_ci.snapshot","config":{"name":"../JOBS_ci"}}]}`))
	f.Add([]byte(`{"v":2,"queue":"ci"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := decodeBackup(text)
		if err != nil {
			briefly(t, err, len(text))
			if !errors.Is(err, ErrBackup) {
				t.Error(err)
			}
			return
		}
		for _, s := range b.Streams {
			if strings.ContainsAny(s.File, `/\`) || s.Config.Name != s.Name {
				t.Errorf("%q of %q", s.File, s.Name)
			}
		}
		if strings.ContainsAny(b.Claims.File, `/\`) {
			t.Errorf("%q", b.Claims.File)
		}
	})
}

// A dead letter carries no word of the server's and nothing that breaks a line, whatever the job said.
func FuzzDeadLetter(f *testing.F) {
	f.Add("Job-Kind", "archive", "Nats-Rollup", "all", "error", "{}")
	f.Add("nats-ttl", "1s", "Dead-Error", "forged", "a\r\nNats-Rollup: all", "\xff")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, text, history string) {
		m := Message{Subject: "jobs.ci.build.1", Seq: 7, Header: map[string][]string{name1: {value1}, name2: {value2}}, Data: []byte("body")}
		letter := DeadMessage("ci", m, Death{Cause: text, Error: text, Attempts: 3, Worker: text, History: history})
		for name, values := range letter.Header {
			if strings.HasPrefix(strings.ToLower(name), "nats-") && name != subjects.HeaderMsgID {
				t.Errorf("it carries %s", name)
			}
			if name == name1 || name == name2 {
				continue // as it came over the wire
			}
			for _, v := range values {
				if strings.ContainsAny(v, "\r\n") || !utf8.ValidString(v) || len(v) > 64<<10 {
					t.Errorf("%s: %q", name, v)
				}
			}
		}
		if got := subjects.Get(letter.Header, subjects.HeaderMsgID); got != subjects.MoveID("JOBS_ci", 7, 3) {
			t.Errorf("its id is %q", got)
		}
	})
}
