package streams_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

// die does what an engine does with the job: store it as dead, then delete it.
func die(t *testing.T, js jetstream.JetStream, seq uint64, d streams.Death) {
	t.Helper()
	m, err := streams.GetMessage(within(t), js, "JOBS_ci", seq)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(within(t), streams.DeadMessage(ci, m, d)); err != nil {
		t.Fatal(err)
	}
	if was, err := streams.DeleteMessage(within(t), js, "JOBS_ci", seq); !was || err != nil {
		t.Fatal(was, err)
	}
}

func TestDead(t *testing.T) {
	js := natstest.Start(t).JetStream()
	ctx := within(t)
	makeQueue(t, js, ci)
	published := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var order []string
	for i := range 12 {
		lane, id := fmt.Sprint("file.a/b.", i%3), fmt.Sprint("job-", i)
		seq, _, err := publish(t, js, ci, lane, streams.PublishOptions{
			Kind: []string{"archive", "mail"}[i%2], ID: id, Data: []byte(id), Timeout: time.Minute, MaxAttempts: 3,
			Header: map[string][]string{"Tenant": {"7"}, "Dead-Cause": {"forged"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, lane+" "+id)
		die(t, js, seq, streams.Death{
			Cause: []string{"failed", "lost"}[i/6], Error: "disk\r\nfull\x00" + strings.Repeat("é", 2000), Attempts: 3,
			PublishedAt: published, Worker: "host-1", History: "1 failed\n2 failed",
		})
	}
	waitTurns(t, js, ci, 3)

	dead, err := streams.ListDead(ctx, js, ci, streams.DeadFilter{})
	if err != nil || len(dead) != 12 {
		t.Fatal(len(dead), err)
	}
	d := dead[4]
	if d.Seq != 5 || d.Entity != "file.a/b.1" || d.Kind != "archive" || d.ID != "job-4" || d.Attempts != 3 || d.Cause != "failed" || d.JobSeq != 5 ||
		d.Worker != "host-1" || d.History != "1 failed 2 failed" || !d.PublishedAt.Equal(published) || d.DiedAt.IsZero() || d.Size != 5 {
		t.Fatalf("%+v", d)
	}
	if !strings.HasPrefix(d.Error, "disk full é") || !strings.HasSuffix(d.Error, "é…") || len(d.Error) > 1024 {
		t.Fatalf("error is %q", d.Error)
	}
	one, job, err := streams.GetDead(ctx, js, ci, 5)
	if err != nil || one.ID != "job-4" || string(job.Data) != "job-4" || job.Headers["Tenant"] != "7" || len(job.Headers) != 1 || job.Timeout != "1m0s" {
		t.Fatalf("%+v %+v %v", one, job, err)
	}
	if _, _, err := streams.GetDead(ctx, js, ci, 99); !errors.Is(err, streams.ErrNotFound) {
		t.Fatal(err)
	}

	for name, c := range map[string]struct {
		f    streams.DeadFilter
		want int
	}{
		"seqs": {streams.DeadFilter{Seqs: []uint64{12, 3, 99}}, 2}, "kind": {streams.DeadFilter{Kind: "mail"}, 6},
		"cause": {streams.DeadFilter{Cause: "lost"}, 6}, "both": {streams.DeadFilter{Cause: "lost", Kind: "mail"}, 3},
		"entity": {streams.DeadFilter{Entities: []subjects.Entity{entity(t, "file.a/b.1")}}, 4},
		"limit":  {streams.DeadFilter{Limit: 5}, 5}, "until": {streams.DeadFilter{Until: dead[3].DiedAt}, 3},
		"since": {streams.DeadFilter{Since: dead[3].DiedAt}, 9}, "forged": {streams.DeadFilter{Cause: "forged"}, 0},
	} {
		if got, err := streams.ListDead(ctx, js, ci, c.f); err != nil || len(got) != c.want {
			t.Errorf("%s: %d, %v", name, len(got), err)
		}
	}

	if n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{Seqs: []uint64{1}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{Seqs: []uint64{1}}); n != 0 || err != nil {
		t.Fatal("again:", n, err)
	}
	if n, err := streams.RetryDead(ctx, js, ci, streams.DeadFilter{}); n != 11 || err != nil {
		t.Fatal(n, err)
	}
	jobs, err := streams.ListJobs(ctx, js, ci, streams.JobFilter{})
	if err != nil || len(jobs) != 12 {
		t.Fatal(len(jobs), err)
	}
	for i, j := range jobs {
		if got := j.Entity + " " + j.ID; got != order[i] {
			t.Errorf("place %d has %s, want %s", i, got, order[i])
		}
	}
	again, err := streams.GetMessage(ctx, js, "JOBS_ci", jobs[0].Seq)
	if err != nil {
		t.Fatal(err)
	}
	for name := range again.Header {
		if strings.HasPrefix(name, "Dead-") || strings.HasPrefix(name, "Nats-") && name != "Nats-Msg-Id" {
			t.Errorf("a revived job has the header %s", name)
		}
	}
	if got := subjects.Get(again.Header, "Nats-Msg-Id"); !strings.HasPrefix(got, subjects.MoveID("DEAD_ci", 1, 3)+".") {
		t.Errorf("it was moved as %s", got)
	}
	waitTurns(t, js, ci, 3)

	// It dies again, and keeps its id.
	die(t, js, jobs[0].Seq, streams.Death{Cause: "failed", Attempts: 5})
	dead, err = streams.ListDead(ctx, js, ci, streams.DeadFilter{})
	if err != nil || len(dead) != 1 || dead[0].ID != "job-0" || dead[0].Error != "" {
		t.Fatalf("%+v %v", dead, err)
	}
	if n, err := streams.RemoveDead(ctx, js, ci, streams.DeadFilter{Seqs: []uint64{dead[0].Seq}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := streams.RemoveDead(ctx, js, ci, streams.DeadFilter{}); n != 0 || err != nil {
		t.Fatal(n, err)
	}
}

// A job without an id keeps the one that it was known by.
func TestDeadKeepsTheID(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	publishN(t, js, ci, 1)
	die(t, js, 1, streams.Death{Cause: "failed", Attempts: 1})
	if n, err := streams.RetryDead(within(t), js, ci, streams.DeadFilter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if job, err := streams.GetJob(within(t), js, ci, 2); err != nil || job.ID != "ci-1" {
		t.Fatal(job, err)
	}
}

// Cut off between storing and removing: the next call does not store the job twice.
func TestRetryDeadIsIdempotent(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	publishN(t, js, ci, 2)
	die(t, js, 1, streams.Death{Cause: "failed", Attempts: 1})
	die(t, js, 2, streams.Death{Cause: "failed", Attempts: 1})
	m, err := streams.GetMessage(within(t), js, "DEAD_ci", 1)
	if err != nil {
		t.Fatal(err)
	}
	// The half of a call that was cut off.
	if _, err := js.Publish(within(t), "jobs.ci.build.0", m.Data, jetstream.WithMsgID(subjects.SecretMoveID("DEAD_ci", 1, 1, m.Header["Dead-Retry"][0]))); err != nil {
		t.Fatal(err)
	}
	if n, err := streams.RetryDead(within(t), js, ci, streams.DeadFilter{}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if jobs, err := streams.ListJobs(within(t), js, ci, streams.JobFilter{}); err != nil || len(jobs) != 2 {
		t.Fatal(jobs, err)
	}
}

// A publisher that uses up the ids of moves that may come does not get jobs lost.
func TestRetryDeadUnderForgedIDs(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci)
	for i := range uint64(2) {
		seq, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{Data: []byte("precious")})
		if err != nil {
			t.Fatal(err)
		}
		die(t, js, seq, streams.Death{Cause: "failed", Attempts: 1})
		m, err := streams.GetMessage(within(t), js, "DEAD_ci", i+1)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 { // as somebody else may have stored it
			if was, err := streams.DeleteMessage(within(t), js, "DEAD_ci", m.Seq); !was || err != nil {
				t.Fatal(was, err)
			}
			by := nats.NewMsg(m.Subject)
			by.Data = m.Data
			by.Header.Set(streams.HeaderDeadAttempts, "1")
			if _, err := js.PublishMsg(within(t), by); err != nil {
				t.Fatal(err)
			}
		}
	}
	for seq := range uint64(5) {
		for attempt := range 3 {
			for _, id := range []string{subjects.MoveID("DEAD_ci", seq, attempt), subjects.SecretMoveID("DEAD_ci", seq, attempt, "")} {
				if _, err := js.Publish(within(t), "jobs.ci.forged.1", nil, jetstream.WithMsgID(id)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n, err := streams.RetryDead(within(t), js, ci, streams.DeadFilter{}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if jobs, err := streams.ListJobs(within(t), js, ci, streams.JobFilter{Entities: []subjects.Entity{entity(t, "build.1")}}); err != nil || len(jobs) != 2 || jobs[0].Size != 8 || jobs[1].Size != 8 {
		t.Fatalf("%+v %v", jobs, err)
	}
}

// A queue that is full stops the retry without losing or reordering anything.
func TestRetryDeadIntoAFullQueue(t *testing.T) {
	js := natstest.Start(t).JetStream()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.MaxMsgs = 2 })
	for i := range 3 {
		seq, _, err := publish(t, js, ci, "build.1", streams.PublishOptions{ID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		die(t, js, seq, streams.Death{Cause: "failed", Attempts: 1})
	}
	n, err := streams.RetryDead(within(t), js, ci, streams.DeadFilter{})
	if n != 2 || !errors.Is(err, streams.ErrQueueFull) || !strings.Contains(err.Error(), "retry dead job 3") || problem.Hint(err) == "" {
		t.Fatal(n, err)
	}
	if dead, err := streams.ListDead(within(t), js, ci, streams.DeadFilter{}); err != nil || len(dead) != 1 || dead[0].ID != "2" {
		t.Fatal(dead, err)
	}
}
