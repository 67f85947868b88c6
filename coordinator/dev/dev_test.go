package dev

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

// log is written by a process and read by the test.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// has waits until the log has a text.
func (l *log) has(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(l.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log never had %q:\n%s", text, l)
		}
	}
}

// fakeDaemon puts a workerd with this body into PATH.
func fakeDaemon(t *testing.T, body string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "workerd"), []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// inTempDir makes temporary folders of Run appear in a folder of the test, so that one left behind is seen.
func inTempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

type running struct {
	Running
	cancel func()
	again  chan os.Signal
	result chan error
	log    *log
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, again: make(chan os.Signal), result: make(chan error, 1), log: &log{}}
	ready := make(chan Running, 1)
	o.Stdout, o.Stderr, o.Again = r.log, r.log, r.again
	o.Ready = func(is Running) error { ready <- is; return nil }
	if o.Queues == nil {
		o.Queues = []subjects.Queue{"ci"}
	}
	if o.Lease == 0 {
		o.Lease = 15 * time.Second
	}
	go func() { r.result <- Run(ctx, o) }()
	t.Cleanup(cancel)
	select {
	case r.Running = <-ready:
	case err := <-r.result:
		select {
		case r.Running = <-ready: // it was, and has ended since
			r.result <- err
		default:
			t.Fatalf("ended before it was ready: %v\n%s", err, r.log)
		}
	}
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.result; err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
}

func (r *running) js(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestServerAndQueuesLeaveNothing(t *testing.T) {
	tmp := inTempDir(t)
	// A port that nobody else takes when it is free again.
	r := start(t, Options{Queues: []subjects.Queue{"ci", "mail"}, Lease: 7 * time.Second, Port: natstest.Port(t)})
	if !r.Temporary || !strings.HasPrefix(r.Dir, tmp) || r.PID != os.Getpid() || r.Workerd != 0 {
		t.Errorf("%+v", r.Running)
	}
	for _, q := range []subjects.Queue{"ci", "mail"} {
		if l, err := streams.LoadQueue(t.Context(), r.js(t), q); err != nil || l.Policy.Lease != 7*time.Second {
			t.Error(l, err)
		}
	}
	r.stop(t)
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	if nc, err := nats.Connect(r.URL); err == nil {
		nc.Close()
		t.Error("the server still runs")
	}
}

func TestDirIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	r := start(t, Options{Dir: dir})
	entity := subjects.Entity{Type: "build", ID: "1"}
	if _, _, err := streams.Publish(t.Context(), r.js(t).Conn(), "ci", entity, streams.PublishOptions{Data: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	// Another one on the same folder would destroy it.
	err := Run(t.Context(), Options{Dir: dir, Stderr: r.log, Queues: []subjects.Queue{"ci"}, Lease: 15 * time.Second})
	if err == nil || !strings.Contains(problem.Hint(err), "another `coordinator dev` uses it") {
		t.Error(err)
	}
	r.stop(t)
	r = start(t, Options{Dir: dir, Lease: time.Minute}) // the lease of a queue that is there stays
	if l, err := streams.LoadQueue(t.Context(), r.js(t), "ci"); err != nil || l.Policy.Lease != 15*time.Second {
		t.Error(l, err)
	}
	if job, err := streams.GetJob(t.Context(), r.js(t), "ci", 1); err != nil || string(job.Data) != "kept" {
		t.Error(job, err)
	}
	r.stop(t)
	if _, err := os.Stat(filepath.Join(dir, "coordinator-dev.lock")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the lock stays", err)
	}
}

func TestPortIsTaken(t *testing.T) {
	tmp := inTempDir(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = Run(t.Context(), Options{Port: l.Addr().(*net.TCPAddr).Port, Stderr: &log{}})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(problem.Hint(err), "--port") {
		t.Error(err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}

func TestDaemonIsStoppedFirst(t *testing.T) {
	inTempDir(t)
	// Nothing in the background, which would have to be ended: a shell's child takes the shell's traps for its own at first.
	fakeDaemon(t, `echo "args $*"; trap 'echo stopping; exit 0' TERM; echo up; while :; do sleep 0.01; done`)
	r := start(t, Options{Serve: true, Command: []string{"./handle.sh", "a b"}})
	r.log.has(t, "up\n")
	if want := "args --server " + r.URL + " --queue ci -- ./handle.sh a b\n"; !strings.Contains(r.log.String(), want) {
		t.Errorf("%s, want %s", r.log, want)
	}
	// A ^C at the terminal goes to a whole process group; the daemon is in one of its own.
	if pgid, err := syscall.Getpgid(r.Workerd); err != nil || pgid != r.Workerd {
		t.Error(pgid, err)
	}
	r.stop(t)
	if !strings.HasSuffix(r.log.String(), "stopping\n") {
		t.Error(r.log)
	}
	if err := syscall.Kill(r.Workerd, 0); !errors.Is(err, syscall.ESRCH) {
		t.Error("the daemon still runs", err)
	}
}

// A daemon that is asked to end before it listens to signals ends well too.
func TestDaemonIsStoppedEarly(t *testing.T) {
	inTempDir(t)
	fakeDaemon(t, `exec sleep 1000`)
	start(t, Options{Command: []string{"x"}}).stop(t)
}

// A second request is handed on, a third one is no longer a request.
func TestStopAgain(t *testing.T) {
	inTempDir(t)
	fakeDaemon(t, `n=0; trap 'n=$((n+1)); echo asked $n' TERM; echo up; while :; do sleep 0.01; done`)
	r := start(t, Options{Command: []string{"x"}})
	r.log.has(t, "up\n")
	r.cancel()
	r.log.has(t, "asked 1\n")
	r.again <- syscall.SIGINT
	r.log.has(t, "asked 2\n")
	r.again <- syscall.SIGINT
	err := <-r.result
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Error(err)
	}
}

func TestDaemonEndsByItself(t *testing.T) {
	tmp := inTempDir(t)
	fakeDaemon(t, `echo no config; exit 2`)
	r := start(t, Options{Config: "x.yaml"})
	var exit *exec.ExitError
	if err := <-r.result; !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Error(err)
	}
	fakeDaemon(t, `exit 0`)
	r = start(t, Options{Config: "x.yaml"})
	if err := <-r.result; err == nil || err.Error() != "workerd ended by itself" {
		t.Error(err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}

func TestNoDaemon(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Run(t.Context(), Options{Command: []string{"x"}})
	if !errors.Is(err, exec.ErrNotFound) || problem.Hint(err) == "" {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	got := Explain(Running{URL: "nats://127.0.0.1:4333", Dir: "/tmp/x", Temporary: true, Queues: []string{"ci", "mail"}, Workerd: 7}, []string{"./handle.sh"})
	want := `NATS server with JetStream on nats://127.0.0.1:4333 (data in /tmp/x, removed at the end)
queues: ci, mail
workerd: pid 7, running ./handle.sh

What to try next, in another terminal:
  coordinator job publish ci build.123 --data hello -s nats://127.0.0.1:4333
  coordinator queue info ci -s nats://127.0.0.1:4333
  nats req jobs.ci.build.123 hello -s nats://127.0.0.1:4333

^C ends it all.
`
	if got != want {
		t.Errorf("got:\n%s", got)
	}
	got = Explain(Running{URL: streams.DefaultURL, Dir: "d", Queues: []string{"ci"}}, nil)
	if !strings.Contains(got, "(data kept in d)") || !strings.Contains(got, "  workerd --queue ci -- ./handle.sh\n") {
		t.Errorf("got:\n%s", got)
	}
}
