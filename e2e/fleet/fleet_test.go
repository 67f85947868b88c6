package fleet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/internal/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

const bound = time.Minute

// shell starts a shell command in a fleet of its own.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	dir := t.TempDir()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(Program{Name: "sh", Path: sh, Args: []string{"-c", script}, Log: filepath.Join(dir, "log"), Mark: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.KillTree(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// said waits until the process has printed something.
func said(t *testing.T, p *Process, what string) string {
	t.Helper()
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(p.Log)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), what) {
			return string(text)
		}
	}
	t.Fatalf("%q was not printed", what)
	return ""
}

func TestProcessEndsAndSaysHow(t *testing.T) {
	p := shell(t, "echo hello; exit 3")
	var exit *exec.ExitError
	if err := p.Wait(t.Context()); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("ended with %v", err)
	}
	if text := said(t, p, "hello"); text != "hello\n" || !p.Ended() {
		t.Errorf("%q, ended %v", text, p.Ended())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	p := shell(t, `trap 'exit 0' TERM; echo on; while :; do sleep 0.01; done`)
	said(t, p, "on")
	if err := p.Stop(bound); err != nil {
		t.Error(err)
	}
	p = shell(t, `trap '' TERM; echo on; while :; do sleep 0.01; done`)
	said(t, p, "on")
	if err := p.Stop(50 * time.Millisecond); err == nil || !p.Ended() {
		t.Errorf("%v", err)
	}
}

func TestWaitHeedsItsContext(t *testing.T) {
	p := shell(t, "exec sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A tree dies as a whole, whatever its processes heed, and nothing with its mark is left.
func TestKillTree(t *testing.T) {
	p := shell(t, `trap '' TERM; (trap '' TERM HUP; sleep 600 & sleep 600 & wait) & echo on; sleep 600`)
	said(t, p, "on")
	for end := time.Now().Add(bound); runtime.GOOS == "linux"; time.Sleep(time.Millisecond) {
		left := Leftovers(filepath.Dir(p.Log))
		if len(left) >= 4 { // one that becomes another program shows no mark
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes carry the mark", len(left))
		}
	}
	if err := p.KillTree(); err != nil {
		t.Error(err)
	}
	if left := Leftovers(filepath.Dir(p.Log)); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	if Lives(p.PID()) || !Lives(os.Getpid()) {
		t.Error("who lives and who does not is told wrongly")
	}
}

// The number of a process that has ended may be another one's by now.
func TestKillTreeOfWhatHasEnded(t *testing.T) {
	other := shell(t, "exec sleep 600")
	p := shell(t, "exit 0")
	if err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Pid = other.PID()
	if err := p.KillTree(); err != nil {
		t.Error(err)
	}
	if !Lives(other.PID()) {
		t.Error("another process was killed")
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	dir := t.TempDir()
	if _, err := Start(Program{Name: "x", Path: filepath.Join(dir, "none"), Log: filepath.Join(dir, "log")}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	tail := NewTail(path)
	if err := tail.Poll(); err != nil {
		t.Fatal(err) // it need not exist yet
	}
	rec, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	rec.Worker = "w"
	run := func(entity string, op int, fence uint64) record.Run {
		return record.Run{Entity: entity, Op: op, Fence: fence, Locked: true}
	}
	var seen []string
	tail.On = func(e record.Event) { seen = append(seen, e.What) }
	write := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := tail.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	write(rec.Start(run("e.1", 1, 1)))
	write(rec.Start(run("e.2", 2, 2)))
	if len(tail.OpenOf("w")) != 2 || tail.Peak != 2 {
		t.Errorf("%d run, peak %d", len(tail.Open()), tail.Peak)
	}
	write(rec.Finish(run("e.1", 1, 1)))
	write(rec.Start(run("e.2", 2, 3))) // the first run lost its lock, so it was over
	if tail.Finished != 1 || len(tail.Open()) != 1 || tail.Starts[2] != 2 || tail.Peak != 2 {
		t.Errorf("%d finished, %d run, %d starts, peak %d", tail.Finished, len(tail.Open()), tail.Starts[2], tail.Peak)
	}
	tail.Killed("w")
	if len(tail.Open()) != 0 {
		t.Error("runs of a killed worker are open")
	}
	write(rec.Start(run("e.2", 2, 4)))
	write(rec.Finish(run("e.2", 2, 4)))
	write(rec.Finish(run("e.2", 2, 4)))
	if tail.Finished != 2 || !slices.Equal(seen, []string{"start", "start", "finish", "start", "start", "finish", "finish"}) {
		t.Errorf("%d finished, %q", tail.Finished, seen)
	}
}

// A half-written line is read when its rest has come.
func TestTailOfHalfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	tail := NewTail(path)
	const line = "\n" + `{"t":1,"event":"start","entity":"e.1","op":1,"pid":2}` + "\n"
	for _, part := range []string{line[:20], line[20:]} {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(part); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		if err := tail.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	if tail.Starts[1] != 1 {
		t.Error("the line was not read")
	}
}

// What a proxy holds back comes later, complete and in order; the other way goes on.
func TestProxy(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p, err := NewProxy("nats://" + server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	client, err := net.Dial("tcp", strings.TrimPrefix(p.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	behind, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	send := func(to net.Conn, text string) {
		t.Helper()
		if _, err := to.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(from net.Conn, text string) {
		t.Helper()
		_ = from.SetReadDeadline(time.Now().Add(bound))
		got := make([]byte, len(text))
		if _, err := io.ReadFull(from, got); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	send(client, "one")
	expect(behind, "one")
	p.Hold(Up)
	p.Hold(Up)
	send(client, "two")
	send(behind, "down")
	expect(client, "down")
	_ = behind.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := behind.Read(make([]byte, 1)); n > 0 {
		t.Fatal("something came through")
	}
	send(client, "three")
	p.Release()
	p.Release()
	expect(behind, "twothree")
	p.Hold(Up, Down)
	p.Close()
	_ = client.SetReadDeadline(time.Now().Add(bound))
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives on")
	}
}

func TestSaid(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("panic: no json\n{\"message\":\"running\",\"level\":\"info\"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, message := range map[bool]string{true: "running", false: "stopped"} {
		got, err := Said(log, func(l LogLine) bool { return l.Message == message })
		if got != want || err != nil {
			t.Errorf("%s: %v, %v", message, got, err)
		}
	}
}

func TestBuildKnowsItsPrograms(t *testing.T) {
	if _, err := (Build{Name: "none"}).Run(t.Context()); err == nil {
		t.Error("an unknown program was built")
	}
}
