package badinput

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/streams"
)

// What the command line can be blamed for is refused before anything is sent.
func TestNamesOnTheCommandLine(t *testing.T) {
	s := newSite(t)
	long := strings.Repeat("x", 257)
	s.coordinator("job", "publish", "ci", "build").must(2, `^coordinator: read entity "build": .*no dot`, `^hint: write it as type\.id, such as build\.123$`)
	s.coordinator("job", "publish", "ci", "bu/ild.1").must(2, `not an entity type`, `^hint: `)
	s.coordinator("job", "publish", "ci", "build.\xff").must(2, `not UTF-8`, `^hint: an id is 1 to 256 bytes of UTF-8`)
	s.coordinator("job", "publish", "ci", "build."+long).must(2, `257 bytes`, `^hint: `)
	s.coordinator("job", "publish", "CI", "build.1").must(2, `^coordinator: read queue name "CI"`, `^hint: use 1 to 32 of a-z`)
	s.coordinator("job", "publish", "ci").must(2, `TYPE\.ID is missing`)
	s.coordinator("job", "publish", "nix", "build.1").must(1, `^coordinator: publish to nix for build\.1: unknown queue "nix"$`, `^hint: make it with: coordinator queue add nix$`)
	s.coordinator("job", "publish", "ci", "build.1", "--kind", "a b").must(2, `Job-Kind`, `^hint: `)
	s.coordinator("jobb", "publish").must(2, `unknown command "jobb"`, `^hint: did you mean: coordinator job\?$`)
	s.coordinator("job", "publish", "ci", "build.1", "--knid", "x").must(2, `unknown flag --knid`, `^hint: did you mean --kind\?$`)

	s.write("large", strings.Repeat("x", 70_000))
	s.coordinator("job", "publish", "ci", "build.1", "--data-file", "large").must(1, `too large`, `^hint: put the data into an object store`)
	s.write("almost", strings.Repeat("x", 62_000)) // fits the server, but not with the reason of a death
	s.coordinator("job", "publish", "ci", "build.1", "--data-file", "almost").must(1, `too large`, `less 4096 for the headers`, `^hint: `)

	s.write("bad.jsonl", `{"entity":"build.1"}`+"\n"+`{"entity":"build.2","kidn":"x"}`+"\n"+`{"entity":"build.3"}`+"\n")
	s.coordinator("job", "import", "ci", "bad.jsonl").must(1, `line 2: unknown key "kidn" \(did you mean "kind"\?\)`, `^hint: everything before line 2 is published, and nothing after it$`)
	s.write("utf8.jsonl", "{\"entity\":\"build.\xff\"}\n")
	s.coordinator("job", "import", "ci", "utf8.jsonl").must(1, `line 1: .*UTF-8`)
	s.await(1, 0)
}

// A client of any kind: what cannot be a job is refused by the server, or nobody answers.
func TestSubjectsOfOtherClients(t *testing.T) {
	s := newSite(t)
	for _, subject := range []string{"jobs.ci.build", "jobs.ci.build.1.2", "jobs.nix.build.1", "jobs.ci", "job.ci.build.1"} {
		if err := s.raw(subject, nil, ""); !errors.Is(err, jetstream.ErrNoStreamResponse) && !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s: %v", subject, err)
		}
	}
	var api *jetstream.APIError
	if err := s.raw("jobs.ci.build.1", nil, strings.Repeat("x", 62_000)); !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamMessageExceedsMaximum {
		t.Errorf("a job that has no room for a reason: %v", err)
	}
	if err := s.raw("jobs.ci.build.1", nil, strings.Repeat("x", 70_000)); !errors.Is(err, nats.ErrMaxPayload) {
		t.Errorf("a message that is too large: %v", err)
	}
	s.await(0, 0)
}

// What the server takes and no worker can use is dead at once, with the reason, in order, and holds up nobody.
func TestUnusableJobsDieWithTheReason(t *testing.T) {
	s := newSite(t)
	long := strings.Repeat("x", 257)
	bad := []struct {
		subject string
		header  map[string][]string
		says    string
	}{
		{"jobs.ci.file.a%2ec", nil, "encod"},
		{"jobs.ci.file.%41", nil, "encod"},
		{"jobs.ci.file." + long, nil, "257 bytes"},
		{"jobs.ci.fi@le.a", nil, "not an entity type"},
		{"jobs.ci.file.\xff", nil, "UTF-8"},
		{"jobs.ci.build.1", map[string][]string{"Job-Kind": {"a b"}}, "Job-Kind"},
		{"jobs.ci.build.1", map[string][]string{"Job-Timeout": {"90"}}, "Job-Timeout"},
		{"jobs.ci.build.1", map[string][]string{"Job-Max-Attempts": {"-1"}}, "Job-Max-Attempts"},
		{"jobs.ci.build.1", map[string][]string{"Job-Reply-To": {"$JS.API.STREAM.DELETE.JOBS_ci"}}, "Job-Reply-To"},
	}
	for _, b := range bad {
		if err := s.raw(b.subject, b.header, "body"); err != nil {
			t.Fatal(b.subject, err)
		}
	}
	if err := s.raw("jobs.ci.build.1", nil, "good"); err != nil {
		t.Fatal(err)
	}
	s.write("run.sh", "#!/bin/sh\ncat >> ran\n")
	w := s.start("--queue", "ci", "--", "./run.sh")
	s.await(0, uint64(len(bad)))
	w.says(`"message":"running"`)
	if got := s.read("ran"); got != "good" {
		t.Errorf("%q ran", got)
	}
	dead, err := streams.ListDead(within(t), s.js, queue, streams.DeadFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bad {
		found := false
		for _, d := range dead {
			found = found || d.Cause == "invalid" && strings.Contains(d.Error, b.says) && d.Size == len("body")
		}
		if !found {
			t.Errorf("no dead letter of %q says %q", b.subject, b.says)
		}
	}
	for _, d := range dead {
		if d.ID != fmt.Sprintf("ci-%d", d.JobSeq) {
			t.Errorf("dead job %d is called %q", d.Seq, d.ID)
		}
	}
}

// Headers that the server obeys, and ids of the system's own, in the hands of a publisher.
func TestForgedHeaders(t *testing.T) {
	s := newSite(t)
	s.write("run.sh", "#!/bin/sh\necho \"$JOB_ENTITY $JOB_ID\" >> ran\ncat >> ran\n")
	const rounds = 3
	for _, header := range []map[string][]string{
		{"Nats-Rollup": {"all"}}, {"Nats-Rollup": {"sub"}}, {"Nats-TTL": {"1s"}}, {"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {"jobs.ci.x.1"}},
	} {
		if err := s.raw("jobs.ci.build.1", header, ""); err == nil {
			t.Errorf("%v was taken", header)
		}
	}
	for range rounds {
		for _, header := range []map[string][]string{
			{"Nats-Sequence": {"999"}, "Nats-Stream": {"CLAIMS_ci"}, "Nats-Subject": {"jobs.ci.other.1"}, "Nats-Last-Sequence": {"5"}, "Nats-Num-Pending": {"0"}},
			{"Status": {"404"}, "Description": {"No Messages"}},
			{"Status": {"503"}},
			{"Nats-Expected-Stream": {"JOBS_ci"}},
			{"Dead-Cause": {"failed"}, "Dead-Attempts": {"7"}},
		} {
			if err := s.raw("jobs.ci.build.1", header, "x"); err != nil {
				t.Errorf("%v: %v", header, err)
			}
		}
	}
	w := s.start("--queue", "ci", "--", "./run.sh")
	w.says(`"message":"running"`)
	s.await(0, 0)
	if got := strings.Count(s.read("ran"), "build.1 ci-"); got != 5*rounds {
		t.Errorf("%d of %d jobs ran:\n%s", got, 5*rounds, s.read("ran"))
	}
}

// The id of a move that is to come, used up by a publisher: a dead job is retried all the same.
func TestForgedMoveIDs(t *testing.T) {
	s := newSite(t)
	s.write("run.sh", "#!/bin/sh\n[ -e mended ] && cat >> ran && exit 0\nexit 100\n")
	w := s.start("--queue", "ci", "--", "./run.sh")
	w.says(`"message":"running"`)
	if err := s.raw("jobs.ci.build.1", nil, "precious"); err != nil {
		t.Fatal(err)
	}
	s.await(0, 1)
	for _, id := range []string{"seriatim.DEAD_ci.1.0", "seriatim.DEAD_ci.1.1", "seriatim.JOBS_ci.2.1", "seriatim.JOBS_ci.3.1"} {
		if err := s.raw("jobs.ci.forged.1", map[string][]string{"Nats-Msg-Id": {id}}, ""); err != nil {
			t.Fatal(err)
		}
	}
	s.await(0, 5)
	s.write("mended", "")
	s.coordinator("dead", "retry", "ci", "--entity", "build.1", "--force").must(0)
	s.await(0, 4)
	if got := s.read("ran"); got != "precious" {
		t.Errorf("%q ran", got)
	}
}

// A full queue tells its publisher so, and drops nothing.
func TestFullQueue(t *testing.T) {
	s := newSite(t, "--max-msgs", "2")
	for range 2 {
		s.coordinator("job", "publish", "ci", "build.1").must(0)
	}
	s.coordinator("job", "publish", "ci", "build.1").must(1, `^coordinator: publish to ci for build\.1: the queue is full: maximum messages exceeded$`, `^hint: add workers, or raise its limit: coordinator queue edit ci --max-msgs`)
	s.write("many.jsonl", strings.Repeat(`{"entity":"build.2"}`+"\n", 3))
	s.coordinator("job", "import", "ci", "many.jsonl").must(1, `line 1: .*the queue is full`, `^hint: add workers`)
	var api *jetstream.APIError
	if err := s.raw("jobs.ci.build.1", nil, ""); !errors.As(err, &api) || api.Description != "maximum messages exceeded" {
		t.Error(err)
	}
	s.await(2, 0)
}
