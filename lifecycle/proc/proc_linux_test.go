package proc_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

func TestTheOwnProcess(t *testing.T) {
	self, err := proc.Read(os.Getpid())
	if err != nil || self.PID != os.Getpid() || self.PPID != os.Getppid() || self.Start == 0 || self.Dead() {
		t.Fatalf("%+v, %v", self, err)
	}
	if !proc.Is(self.PID, self.Start) || proc.Is(self.PID, self.Start+1) {
		t.Error("pid and start time do not name it")
	}
	if args := proc.Args(self.PID); !slices.Equal(args, os.Args) {
		t.Errorf("its arguments are %q", args)
	}
	if _, err := proc.Namespace(self.PID); err != nil {
		t.Error(err)
	}
	if caught, _, err := proc.Signals(self.PID); err != nil || caught == 0 {
		t.Errorf("it catches %x, %v", caught, err) // the Go runtime catches nearly all
	}
	if _, err := proc.Read(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody is told as %v", err)
	}
}

// running starts a program with an environment, and returns when it runs: before, there is none to be read. It is killed
// and reaped by end, or with the test.
func running(t *testing.T, env []string) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("cat") // its answer says that it runs
	cmd.Env = env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	if _, err := in.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, end
}

func TestChildren(t *testing.T) {
	pid, _ := running(t, []string{"A=", "COLOUR=red", "COLOURS=2"})
	if pids, err := proc.Children(); err != nil || !slices.Contains(pids, pid) {
		t.Errorf("%d is not among %v, %v", pid, pids, err)
	}
	if s, err := proc.Read(pid); err != nil || s.PPID != os.Getpid() {
		t.Errorf("%+v, %v", s, err)
	}
	for name, want := range map[string]string{"COLOUR": "red", "A": "", "B": ""} {
		if got, empty, err := proc.Env(pid, name); got != want || empty || err != nil {
			t.Errorf("%s is %q, %v, %v", name, got, empty, err)
		}
	}
}

func TestBare(t *testing.T) {
	for _, c := range []struct {
		env  []string
		bare bool
	}{{[]string{}, true}, {[]string{"A="}, false}} {
		pid, end := running(t, c.env)
		if proc.Bare(pid) != c.bare {
			t.Errorf("with %q it is %v", c.env, !c.bare)
		}
		end()
		if proc.Bare(pid) {
			t.Error("nobody is bare")
		}
	}
}

// A program that has an environment is never taken for one that has none, in no moment of its beginning.
func TestNobodyIsBareWhileItBegins(t *testing.T) {
	const programs = 300
	cmd := exec.Command("sh", "-c", `[ "$1" -le 0 ] || exec sh -c "$2" sh $(($1 - 1)) "$2"`, "sh", strconv.Itoa(programs),
		`[ "$1" -le 0 ] || exec sh -c "$2" sh $(($1 - 1)) "$2"`)
	// So much that it takes a while to be noted, and to be read; in an order that is the shell's.
	long := "=" + string(bytes.Repeat([]byte("a"), 50_000))
	cmd.Env = []string{"A" + long, "Z" + long, "COLOUR=red"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	looks, bare, cut := 0, 0, 0
	for {
		looks++
		if proc.Bare(cmd.Process.Pid) {
			bare++
		}
		if colour, empty, err := proc.Env(cmd.Process.Pid, "COLOUR"); err == nil && !empty && colour != "red" {
			cut++
		}
		if s, err := proc.Read(cmd.Process.Pid); err != nil || s.Dead() {
			break
		}
	}
	if err := cmd.Wait(); err != nil || bare > 0 || cut > 0 {
		t.Errorf("%d of %d looks at %d programs saw none of their environment, %d a part; %v", bare, looks, programs, cut, err)
	}
	t.Logf("%d looks at %d programs", looks, programs)
}

// The badge is put on by a process of its own: it cannot be taken off again.
func TestABadgeIsInherited(t *testing.T) {
	if os.Getenv("PROC_TEST_BADGE") != "" {
		if err := proc.SetBadge(42); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("setsid", "-w", "env", "-i", "grep", "realtime timeout", "/proc/self/limits")
		out, err := cmd.CombinedOutput()
		badge, ok := proc.Badge(os.Getpid())
		if err != nil || !ok || badge != 42 || !bytes.Contains(out, []byte(strconv.FormatUint(1<<62|42, 10))) {
			t.Errorf("%d, %v, %v, %s", badge, ok, err, out)
		}
		return
	}
	if _, ok := proc.Badge(os.Getpid()); ok && os.Getenv("SERIATIM_CHILD") == "" {
		t.Error("a process wears a badge that nobody gave it")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestABadgeIsInherited$")
	cmd.Env = append(os.Environ(), "PROC_TEST_BADGE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
