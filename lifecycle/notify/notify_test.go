package notify_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/lifecycle/notify"
)

// manager listens as systemd does.
func manager(t *testing.T, addr string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func addresses(t *testing.T) map[string]string {
	list := map[string]string{"path": filepath.Join(t.TempDir(), "n")}
	if runtime.GOOS == "linux" {
		list["abstract"] = fmt.Sprintf("@seriatim-notify-%d-%d", os.Getpid(), time.Now().UnixNano())
	}
	return list
}

func TestWhatIsSaid(t *testing.T) {
	for name, addr := range addresses(t) {
		t.Run(name, func(t *testing.T) {
			conn := manager(t, addr)
			t.Setenv("NOTIFY_SOCKET", addr)
			m := notify.Take(1)
			if !m.Present() || m.Watchdog() != 0 {
				t.Fatalf("present %v, watchdog %v", m.Present(), m.Watchdog())
			}
			for want, say := range map[string]func() error{
				"READY=1\nSTATUS=serves ci":               func() error { return m.Ready("serves\nci") },
				"STOPPING=1\nSTATUS=2 jobs":               func() error { return m.Stopping("2 jobs") },
				"WATCHDOG=1":                              m.Alive,
				"STATUS=waits":                            func() error { return m.Status("waits") },
				"EXTEND_TIMEOUT_USEC=5000000\nSTATUS=one": func() error { return m.Extend(5*time.Second, "one") },
			} {
				if err := say(); err != nil {
					t.Fatal(err)
				}
				if got := heard(t, conn); got != want {
					t.Errorf("said %q, want %q", got, want)
				}
			}
			if err := m.Reloading(); err != nil {
				t.Fatal(err)
			}
			got, _ := strings.CutPrefix(heard(t, conn), "RELOADING=1\nMONOTONIC_USEC=")
			if n, err := strconv.ParseInt(got, 10, 64); err != nil || n <= 0 {
				t.Errorf("reloading at %q", got)
			}
		})
	}
}

func TestNobodyElseMaySpeak(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere")
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", "")
	notify.Take(1)
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is left", name, v)
		}
	}
}

func TestWatchdogIsForUs(t *testing.T) {
	const top = 4242
	for pid, want := range map[string]time.Duration{
		"": 1500 * time.Millisecond, strconv.Itoa(os.Getpid()): 1500 * time.Millisecond,
		strconv.Itoa(top): 1500 * time.Millisecond, "1": 0,
	} {
		t.Setenv("NOTIFY_SOCKET", "/nowhere")
		t.Setenv("WATCHDOG_USEC", "3000000")
		t.Setenv("WATCHDOG_PID", pid)
		if got := notify.Take(top).Watchdog(); got != want {
			t.Errorf("WATCHDOG_PID=%q: every %v, want %v", pid, got, want)
		}
	}
}

func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if m := notify.Take(1); m.Present() || m.Ready("") != nil {
		t.Error("told somebody who is not there")
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := notify.Take(1).Ready(""); err == nil {
		t.Error("a manager that does not listen was told")
	}
	t.Setenv("NOTIFY_SOCKET", "vsock:2:1234")
	if err := notify.Take(1).Ready(""); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("an address of another kind: %v", err)
	}
}
