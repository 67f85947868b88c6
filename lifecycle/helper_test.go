package lifecycle_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

// The test binary is also the child: with this variable it behaves in the way that it names.
const actAs = "LIFECYCLE_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(actAs); role != "" {
		act(role)
		os.Exit(0)
	}
	leaks.VerifyTestMain(m)
}

// plenty bounds every wait for something that must happen.
const plenty = 60 * time.Second

// grace is the time before force where a test needs force, or does not care. An exit on a busy host has to be faster.
const grace = 250 * time.Millisecond

// otherRoles are programs that are no children with frames, by name.
var otherRoles = map[string]func(){}

// act is a child with frames. How it starts depends on its role, what it does with a job on the job's kind.
func act(role string) {
	answers := &answerer{f: os.NewFile(4, "answers")}
	switch role {
	case "exit at boot":
		fmt.Fprintln(os.Stderr, "no database")
		os.Exit(3)
	case "never ready":
		time.Sleep(time.Hour)
	case "garbage at boot":
		_, _ = answers.f.WriteString("Booting Rails...\n")
		time.Sleep(time.Hour)
	case "newer":
		_, _ = answers.f.WriteString("{\"ready\":true,\"version\":2}\n")
		time.Sleep(time.Hour)
	case "deaf to TERM", "deaf":
		signal.Ignore(syscall.SIGTERM)
	}
	if other := otherRoles[role]; other != nil {
		other()
	}
	concurrency := 4
	if role == "wide" {
		concurrency = 100
	}
	answers.send(frames.AppendReady(nil, concurrency))
	orders := frames.NewReader(os.NewFile(3, "orders"), frames.Limits{})
	cancels := map[uint64]chan struct{}{}
	var jobs sync.WaitGroup
	for {
		o, err := orders.Order()
		if err != nil || o.Kind == frames.OrderStop {
			break
		}
		switch o.Kind {
		case frames.OrderRun:
			cancelled := make(chan struct{}, 1)
			cancels[o.Run] = cancelled
			jobs.Go(func() { actOn(&o.Job, answers, cancelled) })
		case frames.OrderCancel:
			cancels[o.Run] <- struct{}{}
		}
	}
	jobs.Wait()
	if role == "deaf" {
		time.Sleep(time.Hour)
	}
}

type answerer struct {
	mu sync.Mutex
	f  *os.File
}

func (a *answerer) send(b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = a.f.Write(b)
}

func (a *answerer) done(j *frames.Job, result string) {
	a.send(frames.AppendDone(nil, j.Run, []byte(result)))
}

func actOn(j *frames.Job, answers *answerer, cancelled <-chan struct{}) {
	switch j.Kind {
	case "echo":
		answers.done(j, string(j.Body))
	case "tell":
		answers.done(j, fmt.Sprintf("%s %s %s %s %d %d %d %v %v %s %s", j.Queue, j.Entity, j.Kind, j.ID, j.Seq, j.Fence,
			j.Attempt, j.Timeout, j.Headers, j.Traceparent, j.Body))
	case "env":
		answers.done(j, os.Getenv(string(j.Body)))
	case "stdin":
		in, err := io.ReadAll(os.Stdin)
		answers.done(j, fmt.Sprintf("%d bytes, %v", len(in), err))
	case "descriptors": // a child in any language must get plain, blocking ones
		for fd := range 5 {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			if err != nil || flags&unix.O_NONBLOCK != 0 {
				answers.send(frames.AppendFail(nil, j.Run, fmt.Sprintf("fd %d: flags %x, %v", fd, flags, err), false, 0))
				return
			}
		}
		answers.done(j, "")
	case "pid":
		answers.done(j, fmt.Sprint(os.Getpid()))
	case "fail":
		answers.send(frames.AppendFail(nil, j.Run, "disk full", true, 5*time.Second))
	case "fail silently":
		answers.send(frames.AppendFail(nil, j.Run, "", true, 0))
	case "fail for good":
		answers.send(frames.AppendFail(nil, j.Run, "no such file", false, 0))
	case "progress":
		answers.send(frames.AppendProgress(nil, j.Run, 40, 100, "uploading"))
		answers.done(j, "")
	case "until cancelled":
		answers.send(frames.AppendProgress(nil, j.Run, 0, 0, "started"))
		<-cancelled
		answers.send(frames.AppendFail(nil, j.Run, "cancelled", true, 0))
	case "finish when cancelled":
		<-cancelled
		answers.done(j, "just in time")
	case "hang":
		answers.send(frames.AppendProgress(nil, j.Run, 0, 0, "started"))
		time.Sleep(time.Hour)
	case "wait for file":
		answers.send(frames.AppendProgress(nil, j.Run, 0, 0, "started"))
		for {
			if _, err := os.Stat(string(j.Body)); err == nil {
				answers.done(j, "")
				return
			}
			time.Sleep(time.Millisecond)
		}
	case "exit 3":
		fmt.Fprint(os.Stderr, "first words\nlast words\n\n")
		os.Exit(3)
	case "exit 0":
		os.Exit(0)
	case "done and exit":
		answers.done(j, "bye")
		os.Exit(1)
	case "kill itself":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "garbage":
		answers.send([]byte("puts 'debugging'\n"))
	case "garbage and exit":
		answers.send([]byte("puts 'debugging'\n"))
		os.Exit(1)
	case "half a frame and exit":
		answers.send([]byte(`{"done":`))
		os.Exit(1)
	case "noise":
		fmt.Println("{\"done\":1}\n\x00garbage\xff")
		fmt.Println("{\"fail\":1}")
		answers.done(j, "quiet")
	case "print":
		fmt.Print(string(j.Body))
		fmt.Fprint(os.Stderr, string(j.Body))
		answers.done(j, "")
	case "hang up 4":
		_ = answers.f.Close()
		time.Sleep(time.Hour)
	case "hang up 3":
		_ = syscall.Close(3) // takes effect when the read that waits on it returns
		answers.done(j, "")
		time.Sleep(time.Hour)
	case "unknown run":
		answers.send(frames.AppendDone(nil, 1<<40, []byte("whose?")))
		answers.done(j, "mine")
	case "twice":
		answers.done(j, "once")
		answers.send(frames.AppendFail(nil, j.Run, "twice", true, 0))
	case "huge frame":
		answers.send([]byte(`{"note":"` + strings.Repeat("x", 2<<20) + `"}`))
	case "huge body":
		answers.send(fmt.Appendf(nil, "{\"done\":%d,\"len\":%d}\n", j.Run, 1<<40))
	case "leave a grandchild": // in the group, holding all pipes, deaf to TERM
		answers.done(j, fmt.Sprint(spawn("trap '' TERM; sleep 1000", false)))
	case "leave a stranger": // out of the group, holding all pipes
		answers.done(j, fmt.Sprint(spawn("exec sleep 1000", true)))
	case "exit with a grandchild":
		fmt.Fprintln(os.Stderr, spawn("trap '' TERM; sleep 1000", false))
		os.Exit(4)
	}
}

// inherited are a child's ends of its pipes once more. They are kept: a file that nobody has any more is closed.
var inherited = sync.OnceValue(func() []*os.File {
	return []*os.File{os.NewFile(3, "orders"), os.NewFile(4, "answers")}
})

// spawn starts a process that inherits everything, and returns its pid.
func spawn(script string, session bool) int {
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = inherited()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	return cmd.Process.Pid
}

// harness is a pool under test with all that it tells.
type harness struct {
	lifecycle.Pool
	t        *testing.T
	events   chan lifecycle.Event
	progress chan lifecycle.Job
	over     chan struct{} // closed when nobody looks at events any more: they must not hold up the pool's end

	mu    sync.Mutex
	lines []lifecycle.LogLine
}

// start starts a pool and stops it at the end of the test.
func start(t *testing.T, cfg lifecycle.Config) *harness {
	t.Helper()
	h := prepare(t, cfg)
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func prepare(t *testing.T, cfg lifecycle.Config) *harness {
	t.Helper()
	h := &harness{t: t, over: make(chan struct{})}
	h.events, h.progress = make(chan lifecycle.Event, 10_000), make(chan lifecycle.Job, 10_000)
	if cfg.Name == "" {
		cfg.Name = "test"
	}
	if cfg.SlotWait == 0 {
		cfg.SlotWait = plenty
	}
	if cfg.EmptyWait == 0 {
		cfg.EmptyWait = plenty
	}
	cfg.OnEvent = func(e lifecycle.Event) {
		select {
		case h.events <- e:
		case <-h.over:
		}
	}
	cfg.OnProgress = func(j lifecycle.Job, _ lifecycle.Progress) { h.progress <- j }
	cfg.Log = func(l lifecycle.LogLine) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lines = append(h.lines, l)
	}
	pool, err := lifecycle.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Pool = pool
	t.Cleanup(func() { close(h.over); h.Stop(ended(lifecycle.ErrKillNow)) })
	return h
}

// children is the configuration of a pool of children with a role.
func children(t *testing.T, role string) lifecycle.Config {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return lifecycle.Config{
		Mode: lifecycle.ModePool, Command: []string{exe}, Env: map[string]string{actAs: role}, Concurrency: 4,
		Restart: lifecycle.Restart{Min: time.Millisecond, Max: 10 * time.Millisecond}, KillAfter: grace,
	}
}

// script is the configuration of an exec pool with a shell script.
func script(text string) lifecycle.Config {
	return lifecycle.Config{
		Mode: lifecycle.ModeExec, Command: []string{"sh", "-c", text}, Concurrency: 4, KillAfter: grace,
	}
}

// ended is a context that is over, with a cause.
func ended(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx
}

// run runs a job of a kind with a body.
func (h *harness) run(kind, body string) lifecycle.Result {
	h.t.Helper()
	return h.runIn(h.t.Context(), lifecycle.Job{Kind: kind, Body: []byte(body)})
}

// runIn fails the test when the run does not end.
func (h *harness) runIn(ctx context.Context, j lifecycle.Job) lifecycle.Result {
	h.t.Helper()
	return h.wait(h.begin(ctx, j))
}

func (h *harness) begin(ctx context.Context, j lifecycle.Job) <-chan lifecycle.Result {
	result := make(chan lifecycle.Result, 1)
	go func() { result <- h.Run(ctx, j) }()
	return result
}

func (h *harness) wait(result <-chan lifecycle.Result) lifecycle.Result {
	h.t.Helper()
	select {
	case r := <-result:
		return r
	case <-time.After(plenty):
		h.t.Fatal("the run does not end")
		panic("unreachable")
	}
}

// started waits until a job says that it runs.
func (h *harness) started() {
	h.t.Helper()
	select {
	case <-h.progress:
	case <-time.After(plenty):
		h.t.Fatal("the job does not start")
	}
}

// event waits for the next event of a kind.
func (h *harness) event(kind lifecycle.EventKind) lifecycle.Event {
	h.t.Helper()
	for {
		select {
		case e := <-h.events:
			if e.Kind == kind {
				return e
			}
		case <-time.After(plenty):
			h.t.Fatalf("no event %q", kind)
		}
	}
}

// line waits for a line that contains a text.
func (h *harness) line(text string) lifecycle.LogLine {
	h.t.Helper()
	var found lifecycle.LogLine
	eventually(h.t, "a line with "+text, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, l := range h.lines {
			if strings.Contains(l.Text, text) {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// want checks how a run ended; err must stand in its reason.
func (h *harness) want(r lifecycle.Result, cause lifecycle.Cause, err string) {
	h.t.Helper()
	if r.Cause != cause || !strings.Contains(r.Err, err) || (err == "" && r.Err != "") || !r.GroupEmpty {
		h.t.Fatalf("got %v, %q, group empty %v; want %v, %q", r.Cause, r.Err, r.GroupEmpty, cause, err)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(plenty); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true in time: %s", what)
		}
	}
}
