package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle"
)

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		script string
		cause  lifecycle.Cause
		err    string
	}{
		{"exit 0", lifecycle.Done, ""},
		{"echo loud >&2; exit 0", lifecycle.Done, ""},
		{"exit 1", lifecycle.Failed, "exited with status 1"},
		{"echo first >&2; echo last >&2; echo >&2; echo '  ' >&2; echo out; exit 1", lifecycle.Failed, "last"},
		{"printf 'no end' >&2; exit 2", lifecycle.Failed, "no end"},
		{"exit 75", lifecycle.Failed, "exited with status 75"},
		{"exit 111", lifecycle.Failed, "exited with status 111"},
		{"echo no such file >&2; exit 100", lifecycle.FailedForGood, "no such file"},
		{"exit 100", lifecycle.FailedForGood, "exited with status 100"},
		{"echo oops >&2; kill -SEGV $$", lifecycle.Crashed, "its process was killed by signal 11 (SIGSEGV): oops"},
		{"kill -KILL $$", lifecycle.Crashed, "SIGKILL"},
		{"kill -TERM $$", lifecycle.Crashed, "SIGTERM"},
	} {
		h := start(t, script(c.script))
		r := h.run("any", "")
		h.want(r, c.cause, c.err)
		if r.Err != c.err && c.cause != lifecycle.Crashed {
			t.Errorf("%s: the reason is %q", c.script, r.Err)
		}
	}
}

func TestTheEnvironmentOfAJob(t *testing.T) {
	t.Setenv("JOB_ID", "the job that workerd itself runs as")
	t.Setenv("JOB_HEADER_OLD", "old")
	t.Setenv("TRACEPARENT", "old")
	t.Setenv("SERIATIM_FDS", "3,4")
	t.Setenv("INHERITED", "yes")
	t.Setenv("REPLACED", "no")
	cfg := script(`env | grep -E '^(JOB_|TRACEPARENT|SERIATIM_FDS|INHERITED|REPLACED|OWN)' | sort`)
	cfg.Env = map[string]string{"OWN": "a b", "REPLACED": "yes"}
	h := start(t, cfg)
	j := lifecycle.Job{
		Queue: "ci", Entity: "build.12.3", Type: "build", EntityID: "12.3", Kind: "archive", ID: "a-1", Seq: 9, Fence: 41,
		Attempt: 2, Timeout: 1500 * time.Millisecond, Traceparent: "00-1",
		Headers: map[string]string{"X-Tenant": "acme", "x_tenant": "second", "ü.1": "v"},
	}
	h.want(h.runIn(t.Context(), j), lifecycle.Done, "")
	want := []string{
		"INHERITED=yes", "JOB_ATTEMPT=2", "JOB_ENTITY=build.12.3", "JOB_ENTITY_ID=12.3", "JOB_FENCE=41",
		"JOB_HEADER_X_TENANT=acme", "JOB_HEADER___1=v", "JOB_ID=a-1", "JOB_KIND=archive", "JOB_QUEUE=ci", "JOB_SEQ=9",
		"JOB_TIMEOUT=1.5s", "JOB_TYPE=build", "OWN=a b", "REPLACED=yes", "TRACEPARENT=00-1",
	}
	h.line("TRACEPARENT")
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []string
	for _, l := range h.lines {
		got = append(got, l.Text)
		if l.Queue != "ci" || l.Entity != j.Entity || l.Kind != j.Kind || l.ID != j.ID || l.Seq != 9 || l.Attempt != 2 || l.PID == 0 {
			t.Errorf("a line of the job is %+v", l)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAJobThatNoProcessCanBeTold(t *testing.T) {
	h := start(t, script("exit 0"))
	h.want(h.runIn(t.Context(), lifecycle.Job{EntityID: "a\x00b"}), lifecycle.FailedForGood, "JOB_ENTITY_ID has a NUL byte")
	h.want(h.runIn(t.Context(), lifecycle.Job{Headers: map[string]string{"Big": strings.Repeat("x", 4<<20)}}),
		lifecycle.FailedForGood, "do not fit")
}

func TestTheBodyIsStandardInputThenItsEnd(t *testing.T) {
	h := start(t, script("wc -c"))
	for _, size := range []int{0, 1, 100_000, 10 << 20} {
		h.want(h.run("any", strings.Repeat("x", size)), lifecycle.Done, "")
		h.line(strconv.Itoa(size))
	}
	slow := start(t, script("read -r line; sleep 0.05; cat >/dev/null; exit 5"))
	slow.want(slow.run("any", strings.Repeat("line\n", 1<<18)), lifecycle.Failed, "status 5")
	deaf := start(t, script("exit 6"))
	deaf.want(deaf.run("any", strings.Repeat("x", 10<<20)), lifecycle.Failed, "status 6")
}

func TestALongOrBrokenLineIsCut(t *testing.T) {
	h := start(t, script(`head -c 100000 /dev/zero | tr '\0' x >&2; echo >&2; printf '\377\n' ; exit 1`))
	r := h.run("any", "")
	if r.Cause != lifecycle.Failed || len(r.Err) != lifecycle.MaxError || !strings.HasSuffix(r.Err, "…") {
		t.Errorf("got %v with %d bytes", r.Cause, len(r.Err))
	}
	if l := h.line("\uFFFD"); l.Stream != "stdout" {
		t.Errorf("got %+v", l)
	}
	total := 0
	for _, l := range h.lines {
		if len(l.Text) > lifecycle.MaxLine {
			t.Errorf("a line of %d bytes", len(l.Text))
		}
		total += strings.Count(l.Text, "x")
	}
	if total != 100_000 {
		t.Errorf("%d bytes of it were logged", total)
	}
}

func TestAJobPastItsTimeout(t *testing.T) {
	for name, text := range map[string]string{
		"ends at TERM":       `echo $$; exec sleep 1000`,
		"is deaf to TERM":    `trap '' TERM; echo $$; while :; do sleep 0.01; done`,
		"ends well at TERM":  `trap 'exit 0' TERM; echo $$; while :; do sleep 0.01; done`,
		"grandchild is deaf": `(trap '' TERM; echo $(exec sh -c 'echo $PPID'); while :; do sleep 0.01; done) & echo $$; wait`,
		"is stopped":         `echo $$; kill -STOP $$`,
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, script(text))
			// Long enough for its first line; the rest is in the way of the test only.
			result := h.begin(t.Context(), lifecycle.Job{Timeout: 300 * time.Millisecond})
			h.want(h.wait(result), lifecycle.TimedOut, "timed out after 300ms")
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, l := range h.lines {
				if l.Stream == "stderr" {
					continue // the shell's own words about it
				}
				pid, err := strconv.Atoi(l.Text)
				if err != nil {
					t.Fatal(err)
				}
				if !isDead(pid) {
					t.Errorf("process %d lives", pid)
				}
			}
		})
	}
}

func TestAnExecJobIsEndedByItsContext(t *testing.T) {
	for _, c := range []struct {
		cause error
		err   string
		grace time.Duration
	}{
		{lifecycle.ErrKillNow, "kill now", plenty},
		{lifecycle.ErrCancel, "cancelled", time.Millisecond},
		{errors.New("going down"), "going down: last words", time.Millisecond},
	} {
		cfg := script(`trap '' TERM; echo last words >&2; while :; do sleep 0.01; done`)
		cfg.KillAfter = c.grace
		h := start(t, cfg)
		ctx, cancel := context.WithCancelCause(t.Context())
		result := h.begin(ctx, lifecycle.Job{})
		h.line("last words")
		cancel(c.cause)
		h.want(h.wait(result), lifecycle.Interrupted, c.err)
	}
}

func TestWhatAJobLeavesInItsGroupIsKilled(t *testing.T) {
	// Two generations, deaf to TERM, holding all three pipes.
	cfg := script(`(trap '' TERM; (echo $(exec sh -c 'echo $PPID'); : >"$THERE"; sleep 1000) & sleep 1000) &
		until [ -e "$THERE" ]; do sleep 0.01; done; exit 7`)
	cfg.Env = map[string]string{"THERE": filepath.Join(t.TempDir(), "there")}
	h := start(t, cfg)
	h.want(h.run("any", ""), lifecycle.Failed, "status 7")
	pid, err := strconv.Atoi(h.line("").Text)
	if err != nil {
		t.Fatal(err)
	}
	wantDead(t, pid)
}

func TestAStrangerThatHoldsThePipesHoldsUpNobody(t *testing.T) {
	h := start(t, script(`setsid sleep 1000 & echo pid $!; echo failed >&2; exit 1`))
	h.want(h.run("any", strings.Repeat("x", 1<<20)), lifecycle.Failed, "failed")
	pid, err := strconv.Atoi(strings.TrimPrefix(h.line("pid ").Text, "pid "))
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // dead with its group, unless it was quick enough to leave
}

func TestAnExecPoolsSlots(t *testing.T) {
	cfg := script(`echo started; while :; do sleep 0.01; done`)
	cfg.Concurrency, cfg.SlotWait = 2, 10*time.Millisecond
	h := prepare(t, cfg)
	told := make(chan int, 10)
	h.OnSlots(func(n int) { told <- n })
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := <-told; n != 2 || h.Slots() != 2 {
		t.Errorf("told %d, has %d", n, h.Slots())
	}
	first, second := h.begin(t.Context(), lifecycle.Job{}), h.begin(t.Context(), lifecycle.Job{})
	eventually(t, "two run", func() bool { return len(h.Children()) == 2 })
	for _, c := range h.Children() {
		if c.State != lifecycle.ChildBusy || c.Jobs != 1 || c.PID == 0 || c.Pool != "test" {
			t.Errorf("a child is %+v", c)
		}
	}
	h.want(h.run("any", ""), lifecycle.NotStarted, "no slot became free")
	h.Stop(ended(context.Canceled))
	h.want(h.wait(first), lifecycle.Interrupted, "stopped")
	h.want(h.wait(second), lifecycle.Interrupted, "stopped")
	if n := <-told; n != 0 || len(h.Children()) != 0 {
		t.Errorf("told %d, left %v", n, h.Children())
	}
}

func TestManyProcesses(t *testing.T) {
	h := start(t, script(`read -r n; exit "$n"`))
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			r := h.Run(t.Context(), lifecycle.Job{Body: fmt.Appendf(nil, "%d\n", i+1)})
			if want := fmt.Sprintf("exited with status %d", i+1); r.Err != want || !r.GroupEmpty {
				t.Errorf("got %+v, want %s", r, want)
			}
		})
	}
	all.Wait()
}

func TestAJobIsToldWhoHasIt(t *testing.T) {
	for name, cfg := range map[string]lifecycle.Config{"pool": children(t, "good"), "exec": script("exit 0")} {
		t.Run(name, func(t *testing.T) {
			h := start(t, cfg)
			pids := make(chan int, 2)
			h.want(h.runIn(t.Context(), lifecycle.Job{Kind: "echo", Started: func(pid int) { pids <- pid }}), lifecycle.Done, "")
			if len(pids) != 1 || <-pids <= 1 {
				t.Error("it was not told once")
			}
			h.want(h.runIn(ended(context.Canceled), lifecycle.Job{Kind: "echo", Started: func(pid int) { pids <- pid }}), lifecycle.NotStarted, "canceled")
			if len(pids) != 0 {
				t.Error("a job that no process had was told of one")
			}
		})
	}
}
