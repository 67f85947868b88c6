package results

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/rights"
	"github.com/seriatim/seriatim/subjects"
)

// operator runs a command of coordinator as an operator, with its output and exit code, whatever they are.
func operator(t testing.TB, r *rig.Rig, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return command(t, r, rights.Operator, args...)
}

func command(t testing.TB, r *rig.Rig, role rights.Role, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Admin.Binary, args...)
	cmd.Env = append(os.Environ(), "NATS_URL="+rig.As(role, r.URL()), "NATS_CONTEXT=", "NATS_TIMEOUT=30s")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatal(err, ctx.Err(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// says checks a command's exit code and words.
func says(t testing.TB, r *rig.Rig, code int, words string, args ...string) string {
	t.Helper()
	out, errs, got := operator(t, r, args...)
	if got != code || !strings.Contains(out+errs, words) {
		t.Errorf("%s: exit code %d, want %d with %q\n%s\n%s", strings.Join(args, " "), got, code, words, out, errs)
	}
	return out
}

func TestWaitForAResult(t *testing.T) {
	r := rig.New(t, "--backoff", "100ms,1s")
	r.Host("a", pool(t)).Start()
	publish := func(kind string, more ...string) []string {
		return append([]string{"job", "publish", rig.Queue, "build.1", "--kind", kind, "--wait"}, more...)
	}

	if out, errs, code := operator(t, r, publish("upper", "--data", "hello")...); code != 0 || out != "you said hello\n" || errs != "" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if out, _, code := operator(t, r, publish("bytes")...); code != 0 || out != "\x00\xff\n" {
		t.Errorf("%d %q", code, out)
	}
	if out, _, code := operator(t, r, publish("nothing")...); code != 0 || out != "" {
		t.Errorf("%d %q", code, out)
	}
	// With a publisher's rights, which do not let it look into the stores.
	if out, errs, code := command(t, r, rights.Publisher, publish("upper", "--data", "again")...); code != 0 || out != "you said again\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if got := read[waited](t, []byte(says(t, r, 0, "", publish("flaky", "--json", "--id", "f")...))); got.Outcome != "done" || got.Result != "at last" || got.Attempts != 3 || got.ID != "f" || got.Seq == 0 {
		t.Errorf("%+v", got)
	}
	says(t, r, 1, "is dead (fatal): no such file", publish("bad")...)
	says(t, r, 1, "hint: see: coordinator job logs q --id ", publish("bad")...)
	out, _, code := operator(t, r, publish("bad", "--json")...)
	if got := read[waited](t, []byte(out)); code != 1 || got.Outcome != "dead" || got.Cause != "fatal" {
		t.Errorf("%d %+v", code, got)
	}
	says(t, r, 0, "at last", publish("flaky", "--in", "300ms")...)
	says(t, r, 0, "at last", publish("flaky", "--on-failure", "pass")...)
	says(t, r, 1, "is not over after 1s", publish("hold", "--id", "held", "--wait-timeout", "1s")...)

	// A duplicate waits for the job that is there; cancelling it ends both.
	ended := make(chan string, 1)
	go func() {
		out, errs, code := operator(t, r, publish("hold", "--id", "held")...)
		if code != 1 {
			errs += " with code 0"
		}
		ended <- out + errs
	}()
	time.Sleep(2 * time.Second) // it may be waiting by now; if not, it learns from the history
	r.Coordinator("job", "cancel", rig.Queue, "--id", "held")
	select {
	case text := <-ended:
		if !strings.Contains(text, "is cancelled") || !strings.Contains(text, "was stored before") {
			t.Error(text)
		}
	case <-time.After(rig.Bound):
		t.Fatal("it waits for ever")
	}
	says(t, r, 1, "is halted", "job", "publish", rig.Queue, "halt.1", "--kind", "bad", "--on-dead", "halt", "--wait", "--id", "stands")
	says(t, r, 0, "state  halted", "job", "info", rig.Queue, "--id", "stands", "--entity", "halt.1")
}

// Any NATS client may ask, and gets progress first. One in an account of its own hears no inbox, but its queue's results.
func TestReplyToAPlainClient(t *testing.T) {
	r := rig.New(t)
	r.Host("a", pool(t)).Start()
	for to, url := range map[string]string{
		nats.NewInbox(): r.URL(), "results." + rig.Queue + ".mine": rig.As(rights.Publisher, r.URL()),
	} {
		nc, err := nats.Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		sub, err := nc.SubscribeSync(to)
		if err != nil {
			t.Fatal(err)
		}
		m := nats.NewMsg("jobs." + rig.Queue + ".build.1")
		m.Header.Set(subjects.HeaderKind, "progress")
		m.Header.Set(subjects.HeaderReplyTo, to)
		if _, err := nc.RequestMsg(m, rig.Bound); err != nil {
			t.Fatal(err)
		}
		var steps []string
		for {
			m, err := sub.NextMsg(rig.Bound)
			if err != nil {
				t.Fatal(err)
			}
			var reply struct {
				Outcome, Result, Entity, Note string
				At, Of                        float64
				Seq                           uint64
			}
			if err := json.Unmarshal(m.Data, &reply); err != nil {
				t.Fatalf("%v: %s", err, m.Data)
			}
			if reply.Outcome == "progress" && reply.Of == 3 {
				steps = append(steps, reply.Note)
				continue
			}
			if reply.Outcome != "done" || reply.Result != "stepped" || reply.Entity != "build.1" || reply.Seq == 0 {
				t.Errorf("%s", m.Data)
			}
			break
		}
		// What the worker reads within a tenth of a second is told once, so on a slow host some may be missing; the first never is.
		if len(steps) == 0 || steps[0] != "step 1" || !slices.IsSorted(steps) || len(slices.Compact(slices.Clone(steps))) != len(steps) {
			t.Errorf("progress was %v", steps)
		}
	}
}

func TestYesterdaysJob(t *testing.T) {
	r := rig.New(t, "--backoff", "100ms,1s", "--max-attempts", "2")
	r.Host("a", fleet.Pool{
		Name: "sh", Kinds: []string{"*"}, Mode: "exec", Concurrency: 2,
		Command: []string{"sh", "-c", `echo "out of $JOB_ID, attempt $JOB_ATTEMPT"; echo "err of $JOB_ID" >&2; [ "$JOB_KIND" = good ]`},
	}).Start()
	finish := func(id, kind string) {
		t.Helper()
		_, errs, code := operator(t, r, "job", "publish", rig.Queue, "build."+id, "--id", id, "--kind", kind, "--wait")
		if (code == 0) != (kind == "good") {
			t.Fatal(code, errs)
		}
	}
	plain := func(id, kind string) {
		t.Helper()
		r.Coordinator("job", "publish", rig.Queue, "build."+id, "--id", id, "--kind", kind)
		r.AwaitEmpty(rig.Bound)
	}

	finish("bad", "bad")
	logs, errs, code := operator(t, r, "job", "logs", rig.Queue, "--id", "bad")
	for _, want := range []string{"out of bad, attempt 1\n", "out of bad, attempt 2\n", "err of bad\n"} {
		if code != 0 || !strings.Contains(logs, want) || want[:3] == "out" && strings.Count(logs, want) != 1 {
			t.Errorf("%d: %q lacks %q, or has it twice\n%s", code, logs, want, errs)
		}
	}
	type info struct {
		State string `json:"state"`
		streams.Finished
		DeadSeq uint64 `json:"dead_seq"`
	}
	is := read[info](t, r.Coordinator("job", "info", rig.Queue, "1", "--json"))
	if is.State != "dead" || is.ID != "bad" || is.Attempts != 2 || len(is.Tries) != 2 || is.DeadSeq != 1 || is.Error != "err of bad" || is.Tries[0].Fence >= is.Tries[1].Fence || is.StartedAt.IsZero() {
		t.Errorf("%+v", is)
	}
	says(t, r, 0, "out of bad, attempt 1", "job", "logs", rig.Queue, "1", "--json")
	says(t, r, 0, "err of bad", "dead", "info", rig.Queue, "1")
	dead := read[streams.DeadInfo](t, r.Coordinator("dead", "info", rig.Queue, "1", "--json"))
	if len(dead.Tries) != 2 || !strings.Contains(dead.Tries[1].Log, "out of bad, attempt 2") || dead.Tries[1].Worker == "" || dead.Tries[1].End < dead.Tries[1].Start {
		t.Errorf("%+v", dead)
	}
	// The letter is gone, the history is not.
	r.Coordinator("dead", "rm", rig.Queue, "1", "--force")
	if is := read[info](t, r.Coordinator("job", "info", rig.Queue, "--id", "bad", "--json")); is.State != "dead" || is.DeadSeq != 0 {
		t.Errorf("%+v", is)
	}

	// What was simply done is not kept, unless it is asked for.
	plain("good", "good")
	says(t, r, 1, "--history all", "job", "info", rig.Queue, "--id", "good")
	r.Coordinator("queue", "edit", rig.Queue, "--history", "all")
	// Each round has an id of its own: with the same one it would be a duplicate, and no job. A record is written after the
	// end of its job, on the connection that ends the next one: after that end it is there, or never will be.
	round := 0
	id := func() string { return fmt.Sprint("better", round) }
	kept := func() bool {
		round++
		plain(id(), "good")
		plain(fmt.Sprint("after", round), "good")
		_, _, code := operator(t, r, "job", "info", rig.Queue, "--id", id())
		return code == 0
	}
	eventually(t, "workers keep all", kept)
	says(t, r, 0, "out of "+id()+", attempt 1", "job", "logs", rig.Queue, "--id", id())
	says(t, r, 0, "state  done", "job", "info", rig.Queue, "--id", id(), "--entity", "build."+id())

	r.Coordinator("queue", "edit", rig.Queue, "--history", "off")
	eventually(t, "workers keep nothing", func() bool { return !kept() })
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(rig.Bound); !holds(); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}
