package lifecycle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
)

func TestAnExecJobsLog(t *testing.T) {
	h := start(t, script(`echo "out $JOB_ID"; echo err >&2; printf 'no end'; exit 3`))
	before := time.Now()
	r := h.runIn(t.Context(), lifecycle.Job{Kind: "k", ID: "a"})
	if r.Cause != lifecycle.Failed || r.LogShared || !strings.Contains(r.Log, "out a\n") || !strings.Contains(r.Log, "err\n") || !strings.Contains(r.Log, "no end") {
		t.Fatalf("%+v", r)
	}
	if r.StartedAt.Before(before) || r.Took <= 0 || r.StartedAt.Add(r.Took).After(time.Now()) {
		t.Fatalf("ran from %s for %s", r.StartedAt, r.Took)
	}

	many := start(t, script(`i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done`))
	if r := many.run("k", ""); r.Cause != lifecycle.Done || len(r.Log) > lifecycle.MaxLog || !strings.HasPrefix(r.Log, "…\nline ") || !strings.HasSuffix(r.Log, "line 1999\n") {
		t.Fatalf("%+v", r)
	}
}

// What a child printed before it answered is in that job's log, however soon the answer came, and in no other's.
func TestAChildsLogBelongsToItsJobs(t *testing.T) {
	h := start(t, children(t, "good"))
	for i := range 300 {
		text := fmt.Sprintf("job %d\n", i)
		if r := h.run("print", text); r.Cause != lifecycle.Done || r.Log != text+text || r.LogShared || r.StartedAt.IsZero() {
			t.Fatalf("job %d: %+v", i, r)
		}
	}
	if r := h.run("echo", "x"); r.Log != "" {
		t.Fatalf("a silent job has the log %q", r.Log)
	}
	if r := h.run("exit 3", ""); r.Cause != lifecycle.Crashed || r.Log != "first words\nlast words\n\n" {
		t.Fatalf("%+v", r)
	}
}

func TestALogOfSeveralJobsAtOnceSaysSo(t *testing.T) {
	h := start(t, children(t, "good"))
	file := filepath.Join(t.TempDir(), "go")
	first := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
	h.started()
	if r := h.run("print", "beside\n"); r.Log != "beside\nbeside\n" || !r.LogShared {
		t.Fatalf("%+v", r)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := h.wait(first); r.Log != "beside\nbeside\n" || !r.LogShared {
		t.Fatalf("%+v", r)
	}
	if r := h.run("print", "alone\n"); r.Log != "alone\nalone\n" || r.LogShared {
		t.Fatalf("%+v", r)
	}
}

func TestAJobThatNoProcessHadHasNoLog(t *testing.T) {
	h := start(t, children(t, "good"))
	if r := h.runIn(ended(lifecycle.ErrKillNow), lifecycle.Job{Kind: "echo"}); r.Cause != lifecycle.NotStarted || r.Log != "" || !r.StartedAt.IsZero() {
		t.Fatalf("%+v", r)
	}
}

// logged is a pool with a log of its own.
func logged(t *testing.T, name string, log func(lifecycle.LogLine)) lifecycle.Pool {
	t.Helper()
	cfg := children(t, "good")
	cfg.Name, cfg.Log = name, log
	pool, err := lifecycle.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return pool
}

// A log that is slow for once, as on a busy host, loses no line of a job.
func TestASlowLogHasAllLinesOfAJob(t *testing.T) {
	pool := logged(t, "slow", func(lifecycle.LogLine) { time.Sleep(150 * time.Millisecond) })
	r := pool.Run(t.Context(), lifecycle.Job{Kind: "print", Body: []byte("words\n")})
	pool.Stop(t.Context())
	if r.Cause != lifecycle.Done || r.Log != "words\nwords\n" {
		t.Fatalf("%+v", r)
	}
}

// A log that takes no lines holds up no answer for long.
func TestALogThatHangsHoldsUpNoAnswer(t *testing.T) {
	release := make(chan struct{})
	pool := logged(t, "hangs", func(lifecycle.LogLine) { <-release })
	r := pool.Run(t.Context(), lifecycle.Job{Kind: "print", Body: []byte("words\n")})
	close(release)
	pool.Stop(t.Context())
	if r.Cause != lifecycle.Done {
		t.Fatalf("%+v", r)
	}
}
