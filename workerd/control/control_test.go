package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/workerd/probes"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// source answers as a workerd does, with what the test says.
type source struct {
	mu sync.Mutex
	r  probes.Report
	n  int // how often it was asked
}

func (s *source) Report() probes.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return s.r
}

func (s *source) answers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
func (s *source) NotLive() []string  { return nil }
func (s *source) NotReady() []string { return nil }
func (s *source) Started() bool      { return true }

func (s *source) set(f func(*probes.Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.r)
}

// process is a stand-in for a workerd's top process: it heeds TERM, and TSTP stops it.
func process(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// open makes an entry that answers.
func open(t *testing.T, dir string, pid int, name string) *source {
	t.Helper()
	d, err := Open([]string{dir}, pid, name)
	if err != nil {
		t.Fatal(err)
	}
	src := &source{r: probes.Report{SessionRecord: streams.SessionRecord{Worker: name, PID: pid, State: "running"}, Started: true}}
	s := probes.NewServer(probes.Handler(src, http.NotFoundHandler()), func(err error) { t.Error(err) })
	s.Serve(d.Listener())
	t.Cleanup(func() { s.Stop(); d.Close() })
	return src
}

func call(dir string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	err := Run(context.Background(), args[0], append(args[1:], "--run-dir", dir), &out, &errs)
	return out.String(), err
}

func TestFilesArePrivateAndGo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	d, err := Open([]string{dir}, os.Getpid(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]os.FileMode{dir: 0o700, d.entry.Socket: 0o600, d.entry.file: 0o600} {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if list := Find([]string{"/nowhere", dir, dir}); len(list) != 1 || list[0].PID != os.Getpid() || list[0].Worker != "w1" {
		t.Errorf("%+v", list)
	}
	// An engine that follows another one takes over the place.
	again, err := Open([]string{dir}, os.Getpid(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	again.Close()
	d.Close()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestTheDeadAreNotFound(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d, err := Open([]string{dir}, cmd.Process.Pid, "w1")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_ = cmd.Process.Kill()
	if runtime.GOOS == "linux" { // dead, and not reaped yet
		for i := 0; d.entry.Living() && i < 1000; i++ {
			time.Sleep(10 * time.Millisecond)
		}
		if d.entry.Living() {
			t.Error("a zombie lives")
		}
	}
	_ = cmd.Wait()
	if err := d.entry.Signal(syscall.SIGTERM); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	// The pid belongs to somebody else by now.
	e := d.entry
	e.PID, e.Start = os.Getpid(), e.Start+1
	if err := e.write(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" && (e.Living() || e.Signal(syscall.Signal(0)) == nil) {
		t.Error("another process is taken for it")
	}
	if list := Find([]string{dir}); runtime.GOOS == "linux" && len(list) > 0 {
		t.Errorf("%+v", list)
	}
}

func TestAnotherContainersEntryIsLeftAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there are no pid namespaces
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e := Entry{PID: 1 << 21, Namespace: 7, Worker: "w"}
	e.file = filepath.Join(dir, "2097152.9.json")
	if err := e.write(); err != nil {
		t.Fatal(err)
	}
	if list := Find([]string{dir}); len(list) > 0 {
		t.Errorf("%+v", list)
	}
	if _, err := os.Stat(e.file); err != nil {
		t.Error(err)
	}
}

func TestFoldersOfOthersAreNotUsed(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open([]string{open, file}, os.Getpid(), "w"); !errors.Is(err, ErrNoFolder) {
		t.Error(err)
	}
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "link") // of our own
	if err := os.Symlink(target, good); err != nil {
		t.Fatal(err)
	}
	d, err := Open([]string{open, good}, os.Getpid(), "w")
	if err != nil || filepath.Dir(d.entry.Socket) != good {
		t.Fatal(err)
	}
	d.Close()
}

func TestQuietWaitsUntilIdle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	cmd := process(t)
	src := open(t, dir, cmd.Process.Pid, "w1")
	src.set(func(r *probes.Report) {
		r.Busy, r.Jobs = 1, []streams.JobRecord{{Entity: "build.1", Kind: "a", Since: time.Now()}}
	})
	out, err := call(dir, "quiet", "--wait=1s")
	if !errors.Is(err, context.DeadlineExceeded) || out != "" {
		t.Errorf("%q, %v", out, err)
	}
	src.set(func(r *probes.Report) { r.State, r.Idle, r.Jobs, r.Busy = "quiet", true, nil, 0 })
	if out, err = call(dir, "quiet", "--wait"); err != nil || !strings.Contains(out, "is idle") {
		t.Errorf("%q, %v", out, err)
	}
	src.set(func(r *probes.Report) { r.Idle = false })
	before := src.answers()
	go func() {
		for src.answers() == before { // it has to be seen to be quiet before
			time.Sleep(time.Millisecond)
		}
		src.set(func(r *probes.Report) { r.State = "running" })
	}()
	if _, err = call(dir, "quiet", "--wait"); err == nil || !strings.Contains(err.Error(), "run again") {
		t.Error(err)
	}
}

func TestStopWaitsUntilGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	cmd := process(t)
	open(t, dir, cmd.Process.Pid, "w1")
	out, err := call(dir, "stop", "--wait=30s")
	if err != nil || !strings.Contains(out, "is gone") {
		t.Errorf("%q, %v", out, err)
	}
	_ = cmd.Wait()
	if _, err := call(dir, "stop", "--wait"); err == nil || errors.Is(err, ErrUsage) {
		t.Errorf("nobody is there: %v", err)
	}
}

func TestWhichOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	a, b := process(t), process(t)
	open(t, dir, a.Process.Pid, "w1")
	open(t, dir, b.Process.Pid, "w2")
	if _, err := call(dir, "stop"); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "w2") {
		t.Error(err)
	}
	var reports []probes.Report
	out, err := call(dir, "status", "--json")
	if err := errors.Join(err, json.Unmarshal([]byte(out), &reports)); err != nil || len(reports) != 2 {
		t.Errorf("%v: %s", err, out)
	}
	if out, err = call(dir, "status"); err != nil || !strings.Contains(out, "w1  running") || !strings.Contains(out, "w2  running") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err = call(dir, "stop", "--pid", "999999"); err == nil || errors.Is(err, ErrUsage) {
		t.Error(err)
	}
	if out, err = call(dir, "stop", "--all", "--wait=30s"); err != nil || strings.Count(out, "is gone") != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"quiet", "--wait", "30s"}, {"quiet", "--wait=soon"}, {"quiet", "--wait=-1s"}, {"stop", "--wat"}, {"status", "now"},
	} {
		if _, err := call(t.TempDir(), args...); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := call(t.TempDir(), "quiet", "--help"); err != nil {
		t.Error(err)
	}
	if _, err := call(t.TempDir(), "status", "--wait=50ms"); err == nil {
		t.Error("somebody came")
	}
}
