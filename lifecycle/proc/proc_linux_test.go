package proc_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
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

func TestChildren(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"A=", "COLOUR=red", "COLOURS=2"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	pid := cmd.Process.Pid
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
		cmd := exec.Command("sleep", "1000")
		cmd.Env = c.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, bare := proc.Bare(cmd.Process.Pid); bare != c.bare {
			t.Errorf("with %q it is %v", c.env, bare)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, bare := proc.Bare(cmd.Process.Pid); bare {
			t.Error("nobody is bare")
		}
	}
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
