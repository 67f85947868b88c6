package subjects

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDefaultsOfAJob(t *testing.T) {
	for _, h := range []Header{nil, {}, {HeaderKind: nil, "X": nil}, {HeaderKind: {""}, HeaderJobID: {""}, HeaderTimeout: {""}}} {
		job, err := ReadJobHeader("ci", 7, h)
		if err != nil || !reflect.DeepEqual(job, JobHeader{Kind: "default", ID: "ci-7"}) {
			t.Errorf("%v: %+v, %v", h, job, err)
		}
	}
}

func TestReadJobHeader(t *testing.T) {
	job, err := ReadJobHeader("ci", 7, Header{
		HeaderKind:        {"first", "archive"},
		HeaderTimeout:     {"1m30s"},
		HeaderMaxAttempts: {"3"},
		HeaderReplyTo:     {"_INBOX.abc.1"},
		HeaderOnFailure:   {"pass"},
		HeaderOnDead:      {"halt"},
		HeaderMsgID:       {"m-1"},
		"TraceParent":     {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"X-Own":           {"one", "two"},
		"NATS-Sequence":   {"9"},
		"job-other":       {"no"},
	})
	want := JobHeader{
		Kind: "archive", ID: "m-1", Timeout: 90 * time.Second, MaxAttempts: 3, ReplyTo: "_INBOX.abc.1", OnFailure: "pass", OnDead: "halt",
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Own: map[string]string{"X-Own": "two"},
	}
	if err != nil || !reflect.DeepEqual(job, want) {
		t.Errorf("%+v, %v", job, err)
	}
}

func TestWhichIDAJobHas(t *testing.T) {
	for _, c := range []struct {
		job, msg, want string
	}{
		{"", "", "ci-7"},
		{"", "m", "m"},
		{"j", "m", "j"},
		{"", MoveID("JOBS_ci", 3, 1), "ci-7"},
		{"j", MoveID("JOBS_ci", 3, 1), "j"},
		{"", "seriatim.x", "seriatim.x"},
		{"", "two words", "two words"},
	} {
		h := Header{HeaderJobID: {c.job}, HeaderMsgID: {c.msg}}
		if job, err := ReadJobHeader("ci", 7, h); err != nil || job.ID != c.want {
			t.Errorf("%v: %q, %v", h, job.ID, err)
		}
	}
}

func TestUnusableHeaders(t *testing.T) {
	for _, c := range []struct{ name, value string }{
		{HeaderKind, "two words"},
		{HeaderKind, "a\x00"},
		{HeaderKind, "\xFF"},
		{HeaderKind, strings.Repeat("k", 129)},
		{HeaderTimeout, "90"},
		{HeaderTimeout, "-1s"},
		{HeaderTimeout, "0s"},
		{HeaderTimeout, "soon"},
		{HeaderMaxAttempts, "0"},
		{HeaderMaxAttempts, "-1"},
		{HeaderMaxAttempts, "1.5"},
		{HeaderMaxAttempts, "99999999999999999999"},
		{HeaderOnFailure, "retry"},
		{HeaderOnFailure, "Block"},
		{HeaderOnDead, "block"},
		{HeaderReplyTo, "history.ci.build.1"},
		{HeaderReplyTo, "a..b"},
		{HeaderReplyTo, "a.*"},
		{HeaderReplyTo, ">"},
		{HeaderReplyTo, "a b"},
		{HeaderReplyTo, "$JS.ACK.x"},
		{HeaderReplyTo, "claims.ci.build.1"},
		{HeaderReplyTo, "turns.ci.build.1"},
		{HeaderJobID, "a\nb"},
		{HeaderMsgID, "a\x00b"},
		{HeaderMsgID, strings.Repeat("i", 1025)},
		{"X-Own", "a\x00b"},
	} {
		_, err := ReadJobHeader("ci", 7, Header{c.name: {c.value}})
		if !errors.Is(err, ErrHeader) || !strings.Contains(err.Error(), c.name) || !strings.Contains(err.Error(), quote(c.value)) {
			t.Errorf("%s: %q: %v", c.name, c.value, err)
		}
	}
}

func TestMayReply(t *testing.T) {
	for subject, want := range map[string]bool{
		"_INBOX.abc": true, "_INBOX.abc.1": true, "_INBOX_web.x": true, "results.ci": true, "results.a.b.c": true,
		"": false, "_INBOX": false, "results": false, "resultsx.a": false, "my.results": false, "jobs.ci.build.1": false,
		"claims.ci.build.1": false, "$JS.API.STREAM.PURGE.JOBS_ci": false, "_INBOX.*": false, "results.>": false, "results..a": false, "inbox.a": false,
	} {
		if got := MayReply(subject); got != want {
			t.Errorf("%q: %v", subject, got)
		}
	}
}

// A trace context that no one can use is no reason to give a job up.
func TestUnusableTraceparentIsDropped(t *testing.T) {
	job, err := ReadJobHeader("ci", 7, Header{HeaderTraceparent: {"a\x00"}})
	if err != nil || job.Traceparent != "" {
		t.Errorf("%+v, %v", job, err)
	}
}

func TestGetTakesTheLastValue(t *testing.T) {
	h := Header{"A": {"forged", "true"}, "B": {}, "Traceparent": {"x"}, "TRACEPARENT": {"w"}, "job-kind": {"k"}}
	for name, want := range map[string]string{"A": "true", "B": "", "C": "", HeaderTraceparent: "w", HeaderKind: ""} {
		if got := Get(h, name); got != want {
			t.Errorf("Get(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestStripServer(t *testing.T) {
	for _, c := range []struct{ in, want Header }{
		{nil, Header{}},
		{Header{HeaderMsgID: {"m"}, "Nats-Rollup": {"all"}, "nats-ttl": {"1s"}, "X": {"1", "2"}}, Header{HeaderJobID: {"m"}, "X": {"1", "2"}}},
		{Header{HeaderMsgID: {"m"}, HeaderJobID: {"j"}}, Header{HeaderJobID: {"j"}}},
		{Header{HeaderMsgID: {MoveID("DEAD_ci", 1, 0)}, HeaderKind: {"k"}}, Header{HeaderKind: {"k"}}},
	} {
		if got := StripServer(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("StripServer(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	in := Header{"X": {"1"}}
	StripServer(in)["X"][0] = "2"
	if in["X"][0] != "1" {
		t.Error("the copy shares its values with the original")
	}
}

func TestMoveID(t *testing.T) {
	if got := SecretMoveID("DEAD_ci", 9, 2, "XY7"); got != "seriatim.DEAD_ci.9.2.XY7" || !isMoveID(got) {
		t.Errorf("SecretMoveID: %s", got)
	}
	if got := MoveID("JOBS_ci", 9, 2); got != "seriatim.JOBS_ci.9.2" || !isMoveID(got) {
		t.Errorf("%q", got)
	}
}

// Moving a message any number of times keeps the id that its publisher gave.
func TestMovesKeepTheID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[a-z0-9.-]{1,40}`).Filter(func(s string) bool { return !isMoveID(s) }).Draw(t, "id")
		h := Header{HeaderMsgID: {id}}
		for i := range rapid.IntRange(1, 4).Draw(t, "moves") {
			h = StripServer(h)
			h[HeaderMsgID] = []string{MoveID("DEAD_ci", uint64(i), i)}
		}
		if job, err := ReadJobHeader("ci", 7, h); err != nil || job.ID != id {
			t.Fatalf("%q became %q, %v", id, job.ID, err)
		}
	})
}

func FuzzReadJobHeader(f *testing.F) {
	f.Add("Job-Kind", "archive", "Job-Timeout", "90s")
	f.Add("Traceparent", "x", "TRACEPARENT", "\x00")
	f.Add("Job-Reply-To", "$", "nats-msg-id", "seriatim...")
	f.Add("Job-Reply-To", ".", "Nats-Msg-Id", "seriatim.a.1.2")
	f.Add("", "", "é", "\xFF")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		h := Header{name1: {"", value1}, name2: {value2}}
		job, err := ReadJobHeader("ci", 7, h)
		if err != nil {
			if !errors.Is(err, ErrHeader) {
				t.Fatal(err)
			}
			return
		}
		if job.Kind == "" || job.ID == "" || job.Timeout < 0 || job.MaxAttempts < 0 {
			t.Fatalf("%+v", job)
		}
		for name := range StripServer(h) {
			if len(name) >= 5 && strings.EqualFold(name[:5], "nats-") {
				t.Fatalf("%q is left", name)
			}
		}
	})
}
