package streams_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// fillQueue makes a queue with something in each of its streams, and returns the claims that must come back.
func fillQueue(t *testing.T, js jetstream.JetStream) map[string]lane.Record {
	t.Helper()
	makeQueue(t, js, ci, func(p *streams.Policy) { p.Lease, p.Storage = 6*time.Second, streams.StorageFile })
	for i := range 30 {
		o := streams.PublishOptions{ID: fmt.Sprint("job-", i), Data: []byte(fmt.Sprint("body ", i)), Header: map[string][]string{"Own": {"a", "b"}}}
		if _, _, err := publish(t, js, ci, fmt.Sprintf("build.%d", i%10), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"jobs.ci.file.a%2ec", "jobs.ci.file.\xff"} { // no entity, and no text
		if err := js.Conn().Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := streams.DeleteMessage(within(t), js, ci.JobsStream(), 7); err != nil { // a gap
		t.Fatal(err)
	}
	job, err := streams.GetMessage(within(t), js, ci.JobsStream(), 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(within(t), streams.DeadMessage(ci, job, streams.Death{Cause: "failed", Error: "no", Attempts: 5, PublishedAt: job.Time})); err != nil {
		t.Fatal(err)
	}
	if _, _, err := streams.PauseLane(within(t), js, ci, entity(t, "build.3"), streams.PauseOptions{By: "me", Reason: "why"}); err != nil {
		t.Fatal(err)
	}
	later := nats.NewMsg("schedule.ci.later")
	later.Header.Set("Nats-Schedule", "@at "+time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	later.Header.Set("Nats-Schedule-Target", "due.ci.build.1")
	if _, err := js.PublishMsg(within(t), later); err != nil {
		t.Fatal(err)
	}
	loaded, err := streams.LoadQueue(within(t), js, ci)
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]lane.Record{
		"claims.ci.build.0": {State: lane.Waiting, Session: "s", Job: 1, Attempt: 3, Counts: lane.Counts{Attempts: 2}, NotBefore: 1, Error: "no"},
		"claims.ci.build.1": {State: lane.Halted, Session: "s", Job: 2, Attempt: 5, Counts: lane.Counts{Attempts: 5}},
		"claims.ci.build.2": {State: lane.Running, Session: "s", Job: 3, Attempt: 2, Counts: lane.Counts{Lost: 1}},
		"claims.ci.build.3": {State: lane.Running, Session: "s", Job: 4, Attempt: 1}, // nothing to keep
		"claims.ci.build.4": {State: lane.Done, Session: "s", Job: 4, Counts: lane.Counts{Lost: 1}},
	}
	for subject, r := range written {
		r.Created = loaded.Created.UnixNano()
		written[subject] = r
		if _, err := js.Publish(within(t), subject, r.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	delete(written, "claims.ci.build.3")
	delete(written, "claims.ci.build.4")
	run := written["claims.ci.build.2"]
	run.State, run.Stolen = lane.GivenBack, true
	written["claims.ci.build.2"] = run
	waitTurns(t, js, ci, 12)
	return written
}

// stored is what a stream holds, by sequence; bucket markers and all.
func stored(t *testing.T, js jetstream.JetStream, name string) map[uint64]streams.Message {
	t.Helper()
	st := stream(t, js, name).State
	all := map[uint64]streams.Message{}
	for seq := st.FirstSeq; seq <= st.LastSeq; seq++ {
		m, err := streams.GetMessage(within(t), js, name, seq)
		if errors.Is(err, streams.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(name, seq, err)
		}
		all[seq] = m
	}
	return all
}

var kept = []string{"JOBS_ci", "DEAD_ci", "SCHEDULE_ci", "KV_LANES_ci"}

// What was saved comes back as it was, on a server that never saw it, and the queue works.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	from := natstest.Start(t).JetStream()
	claims := fillQueue(t, from)
	dir := filepath.Join(t.TempDir(), "backup")
	b, err := streams.BackupQueue(within(t), from, ci, dir)
	if err != nil || b.Jobs != 31 || b.Dead != 1 {
		t.Fatalf("%+v, %v", b, err)
	}
	before := map[string]map[uint64]streams.Message{}
	for _, name := range kept {
		before[name] = stored(t, from, name)
	}
	was, err := streams.QueueInfo(within(t), from, ci)
	if err != nil {
		t.Fatal(err)
	}

	to := natstest.Start(t).JetStream()
	var waited time.Duration
	r, err := streams.RestoreQueue(within(t), to, ci, dir, streams.RestoreOptions{OnWait: func(d time.Duration) { waited = d }})
	if err != nil {
		t.Fatal(err)
	}
	if r.Claims != len(claims) || r.Waited == 0 || waited != r.Waited || r.Waited > was.Policy.Lease {
		t.Errorf("restored %+v", r)
	}
	for _, name := range kept {
		if after := stored(t, to, name); !reflect.DeepEqual(before[name], after) {
			t.Errorf("%s held\n%+v\nand holds\n%+v", name, before[name], after)
		}
	}
	info := waitRunnable(t, to, ci, uint64(r.Lanes))
	if len(info.Drift) > 0 || !info.Policy.Equal(was.Policy) || info.Paused {
		t.Fatalf("%+v, was %+v", info, was)
	}
	// One lane is halted and has no turn; of the two subjects that are no entity's one cannot even be named.
	if info.Runnable != info.Lanes-1 {
		t.Errorf("%d of %d lanes have a turn", info.Runnable, info.Lanes)
	}
	least := lastFence(t, from)
	for subject, want := range claims {
		m, err := streams.LastMessage(within(t), to, ci.ClaimsStream(), subject)
		if err != nil {
			t.Fatal(subject, err)
		}
		got, err := lane.DecodeRecord(m.Seq, m.Data)
		want.V, want.Created, got.Seq = got.V, info.CreatedAt.UnixNano(), 0
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v, want %+v", subject, got, err, want)
		}
		if m.Seq <= least {
			t.Errorf("%s has fence %d, and %d was given out before", subject, m.Seq, least)
		}
	}
	if n := stream(t, to, "CLAIMS_ci").State.Msgs; n != uint64(len(claims)) {
		t.Errorf("%d claims", n)
	}
	// New jobs come after the old ones. The server has forgotten the ids of the old.
	if seq, _, err := publish(t, to, ci, "build.1", streams.PublishOptions{}); err != nil || seq != 33 {
		t.Errorf("the next job is %d, %v", seq, err)
	}
	if seq, again, err := publish(t, to, ci, "build.9", streams.PublishOptions{ID: "job-29"}); err != nil || again || seq != 34 {
		t.Errorf("an id of before: %d, %v, %v", seq, again, err)
	}
	if _, err := streams.RestoreQueue(within(t), to, ci, dir, streams.RestoreOptions{}); !errors.Is(err, streams.ErrExists) {
		t.Error(err)
	}
	// And once more in the same place, where the bucket of workers is old enough by now.
	if _, err := streams.DeleteQueue(within(t), to, ci); err != nil {
		t.Fatal(err)
	}
	if r, err := streams.RestoreQueue(within(t), to, ci, dir, streams.RestoreOptions{}); err != nil || r.Waited != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func lastFence(t *testing.T, js jetstream.JetStream) uint64 {
	return stream(t, js, "CLAIMS_ci").State.LastSeq
}

// A backup of one server becomes a queue with three copies.
func TestRestoreWithMoreReplicas(t *testing.T) {
	t.Parallel()
	from := natstest.Start(t).JetStream()
	fillQueue(t, from)
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := streams.BackupQueue(within(t), from, ci, dir); err != nil {
		t.Fatal(err)
	}
	to := natstest.Cluster(t, 3).JetStream()
	if _, err := streams.RestoreQueue(within(t), to, ci, dir, streams.RestoreOptions{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	info, err := streams.QueueInfo(within(t), to, ci)
	if err != nil || info.Replicas != 3 || len(info.Drift) > 0 || info.Jobs != 31 {
		t.Fatalf("%+v, %v", info, err)
	}
	again := filepath.Join(t.TempDir(), "backup") // and back to one
	if _, err := streams.BackupQueue(within(t), to, ci, again); err != nil {
		t.Fatal(err)
	}
	one := natstest.Start(t).JetStream()
	if _, err := streams.RestoreQueue(within(t), one, ci, again, streams.RestoreOptions{}); err == nil {
		t.Error("one server keeps three copies")
	}
	if _, err := streams.DeleteQueue(within(t), one, ci); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.RestoreQueue(within(t), one, ci, again, streams.RestoreOptions{Replicas: 1}); err != nil {
		t.Error(err)
	}
	if info, err := streams.QueueInfo(within(t), one, ci); err != nil || info.Jobs != 31 || len(info.Drift) > 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestUnusableBackups(t *testing.T) {
	js := natstest.Start(t).JetStream()
	fillQueue(t, js)
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	if _, err := streams.BackupQueue(within(t), js, ci, good); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.BackupQueue(within(t), js, ci, good); !errors.Is(err, streams.ErrBackup) {
		t.Error(err)
	}
	if _, err := streams.BackupQueue(within(t), js, "none", filepath.Join(dir, "none")); !errors.Is(err, streams.ErrUnknownQueue) {
		t.Error(err)
	}
	makeQueue(t, js, "mem", func(p *streams.Policy) { p.Storage = streams.StorageMemory })
	if _, err := streams.BackupQueue(within(t), js, "mem", filepath.Join(dir, "mem")); !errors.Is(err, streams.ErrBackup) {
		t.Error(err)
	}
	if _, err := streams.DeleteQueue(within(t), js, ci); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.RestoreQueue(within(t), js, "mail", good, streams.RestoreOptions{}); !errors.Is(err, streams.ErrBackup) {
		t.Error(err)
	}
	spoil := map[string]func(path string) error{
		"claims.jsonl":     os.Remove,
		"backup.json":      os.Remove,
		"JOBS_ci.snapshot": func(path string) error { return os.Truncate(path, 100) },
		"DEAD_ci.snapshot": func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("x")
			return errors.Join(err, f.Close())
		},
	}
	for name, do := range spoil {
		bad := filepath.Join(dir, "bad-"+name)
		if err := os.CopyFS(bad, os.DirFS(good)); err != nil {
			t.Fatal(err)
		}
		if err := do(filepath.Join(bad, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := streams.RestoreQueue(within(t), js, ci, bad, streams.RestoreOptions{}); !errors.Is(err, streams.ErrBackup) && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if queues, err := streams.ListQueues(within(t), js); err != nil || len(queues) != 1 {
		t.Errorf("%v, %v", queues, err)
	}
}

// A worker that runs a job of the queue keeps it from being restored; one that says, after the queue was gone, that it
// runs nothing does not.
func TestRestoreWaitsForWorkers(t *testing.T) {
	t.Parallel()
	js := natstest.Start(t).JetStream()
	fillQueue(t, js)
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := streams.BackupQueue(within(t), js, ci, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.DeleteQueue(within(t), js, ci); err != nil {
		t.Fatal(err)
	}
	beat := func(session string, busy int) {
		t.Helper()
		body, err := streams.SessionRecord{
			Session: session, Worker: "w-" + session, State: streams.StateRunning, LeaseMS: 60_000, Queues: []string{"ci"},
			BusyByQueue: map[string]int{"ci": busy}, Slots: 4, Busy: busy,
		}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(within(t), "$KV."+subjects.WorkersBucket+"."+session, body); err != nil {
			t.Fatal(err)
		}
	}
	beat("busy", 1)
	stop := make(chan struct{})
	done := make(chan error)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	go func() {
		_, err := streams.RestoreQueue(ctx, js, ci, dir, streams.RestoreOptions{})
		close(stop)
		done <- err
	}()
	for i := 1; ; i++ { // it beats on, and is busy
		select {
		case <-stop:
		case <-time.After(500 * time.Millisecond):
			beat("busy", i)
			continue
		}
		break
	}
	if err := <-done; !errors.Is(err, streams.ErrServed) {
		t.Fatal(err)
	}
	if queues, err := streams.ListQueues(within(t), js); err != nil || len(queues) != 0 {
		t.Errorf("%v, %v", queues, err)
	}
	go func() {
		_, err := streams.RestoreQueue(ctx, js, ci, dir, streams.RestoreOptions{})
		done <- err
	}()
	var err error
	for i := 0; ; i++ {
		select {
		case err = <-done:
		case <-time.After(500 * time.Millisecond):
			beat("busy", 0)
			continue
		}
		break
	}
	if err != nil {
		t.Error(err)
	}
}
