package streams_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// What a publisher can do with headers that the server understands. This is a fact of the server, which the design
// stands on: a change here, in a new server, must be looked at.
func TestForgedHeaders(t *testing.T) {
	js := natstest.Start(t).JetStream()
	nc := js.Conn()
	for i, c := range []struct {
		name    string
		header  nats.Header
		refused int  // the server's error code; 0: stored
		noTurn  bool // stored, and its turn refused: the lane waits for the audit
	}{
		{name: "nothing", header: nil},
		{name: "rollup of the subject", header: nats.Header{"Nats-Rollup": {"sub"}}, refused: 10111},
		{name: "rollup of all", header: nats.Header{"Nats-Rollup": {"all"}}, refused: 10111},
		{name: "ttl", header: nats.Header{"Nats-TTL": {"1s"}}, refused: 10166},
		{name: "endless ttl", header: nats.Header{"Nats-TTL": {"never"}}, refused: 10166},
		{name: "unusable ttl", header: nats.Header{"Nats-TTL": {"soon"}}, refused: 10165},
		{name: "schedule", header: nats.Header{"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {"jobs.ci.build.2"}}, refused: 10188},
		{name: "schedule that purges", header: nats.Header{"Nats-Schedule-Next": {"purge"}, "Nats-Scheduler": {"jobs.ci.build.0"}}, refused: 10188},
		{name: "counter", header: nats.Header{"Nats-Incr": {"1"}}, refused: 10168},
		{name: "batch", header: nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}}, refused: 10174},
		{name: "expected stream, wrong", header: nats.Header{"Nats-Expected-Stream": {"JOBS_x"}}, refused: 10060},
		{name: "expected stream, right", header: nats.Header{"Nats-Expected-Stream": {"JOBS_ci"}}, noTurn: true},
		{name: "expected last sequence, wrong", header: nats.Header{"Nats-Expected-Last-Sequence": {"77"}}, refused: 10071},
		{name: "expected last sequence, right", header: nats.Header{"Nats-Expected-Last-Sequence": {"4"}}, noTurn: true},
		{name: "expected idle lane", header: nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}}},
		{name: "expected last sequence of another subject", header: nats.Header{
			"Nats-Expected-Last-Subject-Sequence": {"4"}, "Nats-Expected-Last-Subject-Sequence-Subject": {"jobs.ci.first.1"},
		}, noTurn: true},
		{name: "expected last id", header: nats.Header{"Nats-Expected-Last-Msg-Id": {"x"}}, refused: 10070},
		{name: "sequence and stream", header: nats.Header{
			"Nats-Sequence": {"7", "8"}, "Nats-Stream": {"CLAIMS_ci"}, "Nats-Subject": {"jobs.ci.other.1"}, "Nats-Last-Sequence": {"5"},
			"Nats-Time-Stamp": {"2001-01-01T00:00:00Z"}, "Nats-Num-Pending": {"0"}, "Nats-Msg-Size": {"1000000"},
		}},
		{name: "status", header: nats.Header{"Status": {"404"}, "Description": {"No Messages"}}},
		{name: "no responders", header: nats.Header{"Status": {"503"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := streams.DeleteQueue(within(t), js, ci); err != nil {
				t.Fatal(err)
			}
			makeQueue(t, js, ci)
			for j := range 4 { // in three lanes, so that the sequences of jobs and turns differ
				if _, _, err := publish(t, js, ci, fmt.Sprint("first.", j%3+1), streams.PublishOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			waitTurns(t, js, ci, 3)

			m := nats.NewMsg(fmt.Sprintf("jobs.ci.build.%d", i))
			m.Header = c.header
			answer, err := nc.RequestMsgWithContext(within(t), m)
			if err != nil {
				t.Fatal(err)
			}
			var ack struct {
				Seq   uint64
				Error struct {
					Code        int `json:"err_code"`
					Description string
				}
			}
			if err := json.Unmarshal(answer.Data, &ack); err != nil {
				t.Fatal(err)
			}
			if ack.Error.Code != c.refused {
				t.Fatalf("answered %s, want %d", answer.Data, c.refused)
			}
			if left := stream(t, js, "JOBS_ci").State; c.refused != 0 {
				if left.Msgs != 4 {
					t.Fatalf("refused, and %d of 4 jobs are left", left.Msgs)
				}
				return
			}

			// The copy was sent before this one's, on the same way; so when this turn is there, the other's fate is known.
			if _, _, err := publish(t, js, ci, "after.1", streams.PublishOptions{}); err != nil {
				t.Fatal(err)
			}
			turns := 5
			if c.noTurn {
				turns = 4
			}
			waitTurns(t, js, ci, turns)
			if c.noTurn {
				return
			}
			// Direct: as a worker reads it. The last value of each header is the server's, whatever stands before it.
			turn := direct(t, nc, "TURNS_ci", m.Subject)
			for name, want := range map[string]string{"Nats-Stream": "TURNS_ci", "Nats-Subject": "turns" + m.Subject[len("jobs"):]} {
				if got := subjects.Get(turn.Header, name); got != want {
					t.Errorf("turn: %s ends with %q, want %q", name, got, want)
				}
			}
			job := direct(t, nc, "JOBS_ci", m.Subject)
			for name, want := range map[string]string{"Nats-Stream": "JOBS_ci", "Nats-Subject": m.Subject, "Nats-Sequence": fmt.Sprint(ack.Seq)} {
				if got := subjects.Get(job.Header, name); got != want {
					t.Errorf("job: %s ends with %q, want %q", name, got, want)
				}
			}
			stored, err := streams.GetMessage(within(t), js, "TURNS_ci", must[uint64](t)(lastOf(t, js, "TURNS_ci", "turns"+m.Subject[len("jobs"):])))
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"Nats-Stream": "JOBS_ci", "Nats-Subject": m.Subject, "Nats-Sequence": fmt.Sprint(ack.Seq), "Nats-Msg-Size": "0"} {
				if got := subjects.Get(stored.Header, name); got != want {
					t.Errorf("stored turn: %s ends with %q, want %q", name, got, want)
				}
			}
			// Lists and single reads are not taken in either.
			jobs, err := streams.ListJobs(within(t), js, ci, streams.JobFilter{})
			if err != nil || len(jobs) != 6 || jobs[4].Seq != ack.Seq || jobs[4].Size != 0 || jobs[4].Entity != fmt.Sprint("build.", i) {
				t.Errorf("listed %+v, %v", jobs, err)
			}
			if one, err := streams.GetJob(within(t), js, ci, ack.Seq); err != nil || one.Entity != fmt.Sprint("build.", i) {
				t.Errorf("read %+v, %v", one, err)
			}
		})
	}
}

// direct reads the last message of a job's lane through the direct API and through a callback: nats.go takes an empty
// message with a header Status: 503 for its own "no responders" everywhere else.
func direct(t *testing.T, nc *nats.Conn, stream, jobSubject string) *nats.Msg {
	t.Helper()
	subject := jobSubject
	if stream == "TURNS_ci" {
		subject = "turns" + jobSubject[len("jobs"):]
	}
	got := make(chan *nats.Msg, 1)
	inbox := nc.NewInbox()
	sub, err := nc.Subscribe(inbox, func(m *nats.Msg) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream+"."+subject, inbox, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-got:
		return m
	case <-within(t).Done():
		t.Fatal("no answer")
		return nil
	}
}

func lastOf(t *testing.T, js interface{ Conn() *nats.Conn }, stream, subject string) (uint64, error) {
	t.Helper()
	ask, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return 0, err
	}
	m, err := js.Conn().RequestWithContext(within(t), "$JS.API.STREAM.MSG.GET."+stream, ask)
	if err != nil {
		return 0, err
	}
	var answer struct{ Message struct{ Seq uint64 } }
	err = json.Unmarshal(m.Data, &answer)
	return answer.Message.Seq, err
}
