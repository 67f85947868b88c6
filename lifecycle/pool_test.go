package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

func TestAChildGetsItsJobsAndAnswers(t *testing.T) {
	h := start(t, children(t, "good"))
	r := h.runIn(t.Context(), lifecycle.Job{
		Queue: "ci", Entity: "build.123", Kind: "tell", ID: "a", Seq: 9, Fence: 41, Attempt: 2, Timeout: 90 * time.Second,
		Headers: map[string]string{"X": "y"}, Traceparent: "00-1", Body: []byte("body"),
	})
	h.want(r, lifecycle.Done, "")
	if want := "ci build.123 tell a 9 41 2 1m30s map[X:y] 00-1 body"; string(r.Body) != want {
		t.Errorf("the child saw %s, want %s", r.Body, want)
	}
	if r := h.run("env", "SERIATIM_FDS"); string(r.Body) != "3,4" {
		t.Errorf("SERIATIM_FDS is %q", r.Body)
	}
	h.want(h.run("descriptors", ""), lifecycle.Done, "")
	if r := h.run("stdin", ""); string(r.Body) != "0 bytes, <nil>" {
		t.Errorf("standard input has %s", r.Body)
	}
	big := strings.Repeat("0123456789abcdef", 1<<17)
	if r := h.run("echo", big); string(r.Body) != big {
		t.Errorf("a body of %d bytes came back as %d", len(big), len(r.Body))
	}
	h.want(h.run("fail silently", ""), lifecycle.Failed, "the child gave no reason")
	h.want(h.run("fail for good", ""), lifecycle.FailedForGood, "no such file")
	if r := h.run("fail", ""); r.Cause != lifecycle.Failed || r.Err != "disk full" || r.RetryIn != 5*time.Second {
		t.Errorf("a failure came as %+v", r)
	}
	h.want(h.run("progress", ""), lifecycle.Done, "")
	h.started()
}

func TestSlotsFollowTheReadyChildren(t *testing.T) {
	cfg := children(t, "good") // says that it takes 4
	cfg.Processes, cfg.Concurrency = 3, 9
	h := prepare(t, cfg)
	var mu sync.Mutex
	var seen []int
	h.OnSlots(func(n int) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, n)
	})
	if h.Slots() != 0 {
		t.Fatal("slots before the start")
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "12 slots", func() bool { return h.Slots() == 12 })
	if list := h.Children(); len(list) != 3 || list[0].PID == 0 || list[0].State != lifecycle.ChildReady {
		t.Errorf("children are %+v", list)
	} else if runtime.GOOS == "linux" && list[0].RSSBytes <= 0 {
		t.Errorf("no memory is shown: %+v", list[0])
	}
	h.Stop(t.Context())
	mu.Lock()
	defer mu.Unlock()
	if len(seen) == 0 || seen[len(seen)-1] != 0 || h.Slots() != 0 {
		t.Errorf("the slots were told as %v, and are %d after the stop", seen, h.Slots())
	}
	for _, n := range seen {
		if n%4 != 0 || n > 12 {
			t.Errorf("the slots were told as %v", seen)
		}
	}
}

func TestJobsAtOnceAreTheSmallerOfBothConcurrencies(t *testing.T) {
	cfg := children(t, "good") // takes 4
	cfg.Concurrency, cfg.SlotWait = 2, 20*time.Millisecond
	h := start(t, cfg)
	eventually(t, "2 slots", func() bool { return h.Slots() == 2 })
	file := filepath.Join(t.TempDir(), "go")
	first := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
	second := h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)})
	h.started()
	h.started()
	h.want(h.run("echo", ""), lifecycle.NotStarted, "no slot")
	if list := h.Children(); list[0].Jobs != 2 || list[0].State != lifecycle.ChildBusy {
		t.Errorf("children are %+v", list)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.want(h.wait(first), lifecycle.Done, "")
	h.want(h.wait(second), lifecycle.Done, "")
	h.want(h.run("echo", ""), lifecycle.Done, "")
}

func TestManyJobsThroughFewSlots(t *testing.T) {
	cfg := children(t, "good")
	cfg.Processes = 2
	h := start(t, cfg)
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			want := strconv.Itoa(i)
			if r := h.Run(t.Context(), lifecycle.Job{Kind: "echo", Body: []byte(want)}); string(r.Body) != want {
				t.Errorf("job %s got %+v", want, r)
			}
		})
	}
	all.Wait()
}

// Everything that a child may do wrong while it has a job: what the job's result is, what is said of the child, and that
// the pool works again afterwards.
func TestAChildThatMisbehavesInAJob(t *testing.T) {
	var garbage *frames.Error
	var exit *lifecycle.ExitError
	for _, c := range []struct {
		kind   string
		cause  lifecycle.Cause
		err    string
		target any
	}{
		{"exit 3", lifecycle.Crashed, "exited with status 3: last words", &exit},
		{"exit 0", lifecycle.Crashed, "exited with status 0 and left the job", nil},
		{"kill itself", lifecycle.Crashed, "was killed by signal 9 (SIGKILL)", &exit},
		{"garbage", lifecycle.Crashed, `not a frame: "puts 'debugging'\n"`, &garbage},
		{"garbage and exit", lifecycle.Crashed, `not a frame: "puts 'debugging'\n"`, &garbage},
		{"half a frame and exit", lifecycle.Crashed, "exited with status 1", &exit},
		{"huge frame", lifecycle.Crashed, `frame header too long: "{\"note\":\"xxx`, &garbage},
		{"huge body", lifecycle.Crashed, "frame body too long", &garbage},
		{"hang up 4", lifecycle.Crashed, "closed a frame descriptor", lifecycle.ErrHungUp},
		{"exit with a grandchild", lifecycle.Crashed, "exited with status 4", &exit},
		{"done and exit", lifecycle.Done, "", &exit},
	} {
		t.Run(c.kind, func(t *testing.T) {
			cfg := children(t, "good")
			if c.kind != "hang up 4" {
				cfg.KillAfter = plenty // the others end by themselves, or at once
			}
			h := start(t, cfg)
			h.want(h.run(c.kind, ""), c.cause, c.err)
			e := h.event(lifecycle.EventExited)
			switch target := c.target.(type) {
			case nil:
				if e.Err != nil {
					t.Errorf("the child's end is told as %v", e.Err)
				}
			case error:
				if !errors.Is(e.Err, target) {
					t.Errorf("the child's end is told as %v", e.Err)
				}
			default:
				if !errors.As(e.Err, target) {
					t.Errorf("the child's end is told as %v", e.Err)
				}
			}
			if e.PID == 0 || h.event(lifecycle.EventRestarting).Wait <= 0 {
				t.Error("the restart is not told")
			}
			if c.kind == "exit with a grandchild" {
				pid, err := strconv.Atoi(h.line("").Text)
				if err != nil {
					t.Fatal(err)
				}
				wantDead(t, pid)
			}
			h.want(h.run("echo", "again"), lifecycle.Done, "")
		})
	}
}

func TestAChildThatIsOddLivesOn(t *testing.T) {
	h := start(t, children(t, "good"))
	pid := string(h.run("pid", "").Body)
	for kind, body := range map[string]string{"unknown run": "mine", "twice": "once"} {
		r := h.run(kind, "")
		h.want(r, lifecycle.Done, "")
		if string(r.Body) != body {
			t.Errorf("%s: got %q", kind, r.Body)
		}
		if e := h.event(lifecycle.EventIgnored); !errors.Is(e.Err, lifecycle.ErrUnknownRun) {
			t.Errorf("%s: told as %v", kind, e.Err)
		}
	}
	// What it prints is log, never protocol.
	r := h.run("noise", "")
	h.want(r, lifecycle.Done, "")
	if string(r.Body) != "quiet" {
		t.Errorf("got %q", r.Body)
	}
	if l := h.line("garbage"); l.Text != "\x00garbage\uFFFD" || l.Stream != "stdout" || l.Pool != "test" || strconv.Itoa(l.PID) != pid {
		t.Errorf("the noise was logged as %+v", l)
	}
	if now := string(h.run("pid", "").Body); now != pid {
		t.Errorf("child %s was replaced by %s", pid, now)
	}
}

func TestANeighbourOfACrashedChildGoesOn(t *testing.T) {
	cfg := children(t, "good")
	cfg.Processes, cfg.Concurrency = 2, 2
	h := start(t, cfg)
	eventually(t, "4 slots", func() bool { return h.Slots() == 4 })
	file := filepath.Join(t.TempDir(), "go")
	// Two jobs in each child: the freest one gets the next.
	var waiting []<-chan lifecycle.Result
	for range 3 {
		waiting = append(waiting, h.begin(t.Context(), lifecycle.Job{Kind: "wait for file", Body: []byte(file)}))
		h.started()
	}
	h.want(h.run("kill itself", ""), lifecycle.Crashed, "SIGKILL")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	counts := map[lifecycle.Cause]int{}
	for _, w := range waiting {
		counts[h.wait(w).Cause]++
	}
	if counts[lifecycle.Crashed] != 1 || counts[lifecycle.Done] != 2 {
		t.Errorf("the other jobs ended as %v", counts)
	}
}

func TestAChildThatCannotBoot(t *testing.T) {
	var garbage *frames.Error
	var exit *lifecycle.ExitError
	for _, c := range []struct {
		role string
		is   func(error) bool
	}{
		{"never ready", func(err error) bool { return errors.Is(err, lifecycle.ErrNeverReady) }},
		{"garbage at boot", func(err error) bool {
			return errors.As(err, &garbage) && strings.Contains(err.Error(), `"Booting Rails...\n"`)
		}},
		{"exit at boot", func(err error) bool { return errors.As(err, &exit) && exit.Code == 3 && exit.LastLine == "no database" }},
		{"newer", func(err error) bool {
			return errors.Is(err, lifecycle.ErrNewerProtocol) && strings.Contains(problem.Hint(err), "upgrade workerd")
		}},
	} {
		t.Run(c.role, func(t *testing.T) {
			cfg := children(t, c.role)
			cfg.SlotWait = time.Millisecond
			if c.role == "never ready" {
				cfg.ReadyTimeout = 20 * time.Millisecond
			}
			h := start(t, cfg)
			for range 3 {
				e := h.event(lifecycle.EventExited)
				if !c.is(e.Err) {
					t.Fatalf("the child's end is told as %v", e.Err)
				}
				wantDead(t, e.PID)
				if w := h.event(lifecycle.EventRestarting).Wait; w <= 0 || w > 15*time.Millisecond {
					t.Errorf("restarted in %v", w)
				}
			}
			h.want(h.run("echo", ""), lifecycle.NotStarted, "no slot")
			if h.Slots() != 0 {
				t.Error("a child that never was ready has slots")
			}
		})
	}
}

func TestTheBackoffGrowsAndIsResetByALongLife(t *testing.T) {
	waits := func(reset time.Duration) []time.Duration {
		cfg := children(t, "good")
		cfg.Restart = lifecycle.Restart{Min: time.Millisecond, Max: time.Hour, Reset: reset}
		h := start(t, cfg)
		var list []time.Duration
		for range 6 {
			h.want(h.run("kill itself", ""), lifecycle.Crashed, "SIGKILL")
			list = append(list, h.event(lifecycle.EventRestarting).Wait)
		}
		return list
	}
	// Jitter is half of the wait, to either side.
	if long := waits(time.Nanosecond); long[5] > 1500*time.Microsecond {
		t.Errorf("with long lives the waits are %v", long)
	}
	if short := waits(time.Hour); short[5] < 16*time.Millisecond {
		t.Errorf("with short lives the waits are %v", short)
	}
}

func TestAProgramThatCannotBeStarted(t *testing.T) {
	for _, mode := range []lifecycle.Mode{lifecycle.ModeExec, lifecycle.ModePool} {
		h := prepare(t, lifecycle.Config{Mode: mode, Command: []string{"no-such-program-here"}})
		if err := h.Start(t.Context()); err == nil || problem.Hint(err) == "" {
			t.Errorf("%s: start gave %v", mode, err)
		}
	}
	noShebang := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(noShebang, []byte("exit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	h := start(t, lifecycle.Config{Mode: lifecycle.ModeExec, Command: []string{noShebang}})
	h.want(h.run("any", ""), lifecycle.NotStarted, "exec format error")
	h = start(t, lifecycle.Config{Mode: lifecycle.ModePool, Command: []string{noShebang}, Restart: lifecycle.Restart{Min: 1, Max: 1}})
	for range 2 {
		if e := h.event(lifecycle.EventStartFailed); !strings.Contains(problem.Hint(e.Err), "#!/bin/sh") {
			t.Errorf("told as %v, %q", e.Err, problem.Hint(e.Err))
		}
	}
}

func TestGrandchildrenDieWithTheirChild(t *testing.T) {
	h := start(t, children(t, "good"))
	pid, err := strconv.Atoi(string(h.run("leave a grandchild", "").Body))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := strconv.Atoi(string(h.run("leave a stranger", "").Body))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(stranger, syscall.SIGKILL)
	// The stranger left the group and holds every pipe: nothing may wait for that.
	h.want(h.run("exit 3", ""), lifecycle.Crashed, "status 3: last words")
	wantDead(t, pid)
	h.want(h.run("echo", ""), lifecycle.Done, "")
	h.Stop(t.Context())
	if isDead(stranger) {
		t.Error("the stranger should have lived: this test shows nothing")
	}
}

func TestNoChildDiesWithAThreadThatIsNotItsOwn(t *testing.T) {
	h := start(t, children(t, "good"))
	pid := string(h.run("pid", "").Body)
	var all sync.WaitGroup
	for range 1000 {
		all.Go(runtime.LockOSThread) // returning locked ends the thread
	}
	all.Wait()
	if now := string(h.run("pid", "").Body); now != pid {
		t.Errorf("child %s was replaced by %s", pid, now)
	}
}

func TestNothingOfAJobIsLostWhenTheContextIsOverBefore(t *testing.T) {
	h := start(t, children(t, "good"))
	h.want(h.runIn(ended(context.Canceled), lifecycle.Job{Kind: "echo"}), lifecycle.NotStarted, "canceled")
	e := start(t, script("exit 0"))
	e.want(e.runIn(ended(context.Canceled), lifecycle.Job{Kind: "echo"}), lifecycle.NotStarted, "canceled")
}

// A job whose frame the child never read did not start: it must not be counted against the job.
func TestAJobThatADyingChildNeverReadDidNotStart(t *testing.T) {
	cfg := children(t, "never ready")
	// Says that it is ready, and reads nothing.
	cfg.Command = []string{"sh", "-c", `echo '{"ready":true,"concurrency":2}' >&4; exec sleep 1000`}
	h := start(t, cfg)
	pid := h.event(lifecycle.EventReady).PID
	small := h.begin(t.Context(), lifecycle.Job{Kind: "a"})
	large := h.begin(t.Context(), lifecycle.Job{Kind: "b", Body: make([]byte, 1<<20)}) // more than the pipe takes
	eventually(t, "both jobs are handed over", func() bool { return h.child().Jobs == 2 })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.want(h.wait(small), lifecycle.NotStarted, "before it read the job")
	h.want(h.wait(large), lifecycle.NotStarted, "before it read the job")
	if e := h.event(lifecycle.EventExited); e.PID != pid || !strings.Contains(fmt.Sprint(e.Err), "SIGKILL") {
		t.Errorf("the end is told as %+v", e)
	}
}
