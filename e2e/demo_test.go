package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/fleet"
	"github.com/seriatim/seriatim/e2e/rig"
)

// The demo says what it found, and leaves nothing behind.
func TestDemo(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	args := rig.Size([]string{"--limit", "2000"}, nil)
	begun := time.Now()
	out, code := demo(t, "", args...)
	if code != 0 || !strings.Contains(out, "SIGTERM to worker a") || !strings.Contains(out, "SIGKILL to worker b") ||
		!strings.Contains(out, "exactly the files that the repository has then") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	nothingLeft(t, tmp)
	t.Logf("the demo took %s", ms(time.Since(begun)))
}

// ^C ends the demo wherever it is.
func TestDemoInterrupted(t *testing.T) {
	for _, when := range []string{"NATS server on", "imported", "ended with exit code 0", "SIGKILL to worker b"} {
		t.Run(when, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
			defer cancel()
			cmd := demoCommand(ctx, t, "", "--limit", "4500") // so many that it does not end before the signal comes
			log := filepath.Join(t.TempDir(), "out")
			out, err := os.Create(log)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			text := func() string {
				b, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			for !strings.Contains(text(), when) && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // its exit code is looked at
			if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(text(), "cleaned up") {
				t.Errorf("exit code %d\n%s", code, text())
			}
			nothingLeft(t, tmp)
		})
	}
}

// Nobody reads what it says any more: it ends, and cleans up.
func TestDemoUnheard(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithTimeout(t.Context(), rig.Bound)
	defer cancel()
	cmd := demoCommand(ctx, t, "", "--limit", "1500")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = out.Close()
	_ = cmd.Wait() // its exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("ended with %s", cmd.ProcessState)
	}
	nothingLeft(t, tmp)
}

// nothingLeft looks for folders of a demo, and for processes that carry the mark of one.
func nothingLeft(t *testing.T, tmp string) {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(folders) > 0 {
		t.Errorf("left behind: %q, %v", folders, err)
	}
	if left := fleet.LeftoversUnder(tmp); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// demoCommand is the demo with binaries of which workerd lacks a rule.
func demoCommand(ctx context.Context, t *testing.T, broken string, args ...string) *exec.Cmd {
	t.Helper()
	bin := t.TempDir()
	for _, b := range []fleet.Build{{Name: "workerd", Broken: broken}, {Name: "coordinator"}, {Name: "history-child"}} {
		if err := os.Symlink(rig.Binary(t, b), filepath.Join(bin, b.Name)); err != nil {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("../examples/history/child.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, rig.Binary(t, fleet.Build{Name: "history-demo"}),
		append([]string{"--bin", bin, "--shell", script, "--plain"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up
	cmd.WaitDelay = time.Minute
	return cmd
}

// demo runs it.
func demo(t *testing.T, broken string, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := demoCommand(ctx, t, broken, args...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}
