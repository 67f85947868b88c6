package life

import (
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is a service manager: it listens as systemd does.
type manager struct {
	s    *site
	conn *net.UnixConn
}

func (s *site) manager(addr string) *manager {
	s.t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &manager{s, conn}
}

// hears waits for a message with this line.
func (m *manager) hears(line string) string {
	m.s.t.Helper()
	buf := make([]byte, 4096)
	_ = m.conn.SetReadDeadline(time.Now().Add(plenty))
	for {
		n, err := m.conn.Read(buf)
		if err != nil {
			m.s.t.Fatalf("wait for %s: %v", line, err)
		}
		if text := string(buf[:n]); strings.Contains("\n"+text+"\n", "\n"+line+"\n") {
			return text
		}
	}
}

func TestServiceManager(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("no service manager here speaks this")
		return
	}
	for name, addr := range map[string]func(s *site) string{
		"path":     func(s *site) string { return s.path("notify") },
		"abstract": func(s *site) string { return "@seriatim-life-" + strings.ReplaceAll(s.dir, "/", "-") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			m := s.manager(addr(s))
			s.server.Stop()
			w := s.begin("", "NOTIFY_SOCKET="+addr(s), "WATCHDOG_USEC=1000000")
			if text := m.hears("EXTEND_TIMEOUT_USEC=30000000"); strings.Contains(text, "READY") {
				t.Errorf("it said %q before it was up", text)
			}
			m.hears("WATCHDOG=1")
			s.server.Restart()
			if text := m.hears("READY=1"); !strings.Contains(text, "STATUS=running: serves ci with 4 slots") {
				t.Errorf("it said %q", text)
			}
			m.hears("WATCHDOG=1")
			w.signal(syscall.SIGHUP)
			m.hears("RELOADING=1")
			m.hears("READY=1")
			w.signal(syscall.SIGTSTP)
			m.hears("STATUS=quiet: takes no jobs")
			w.signal(syscall.SIGHUP)
			m.hears("RELOADING=1")
			if text := m.hears("READY=1"); !strings.Contains(text, "STATUS=quiet: takes no jobs") {
				t.Errorf("while quiet it said %q", text)
			}
			w.signal(syscall.SIGTERM)
			m.hears("STOPPING=1")
			w.stops(10 * time.Second)
		})
	}
}

// A job cannot speak in the daemon's name.
func TestJobsDoNotKnowTheServiceManager(t *testing.T) {
	s := newSite(t)
	m := s.manager(s.path("notify"))
	s.write("job.sh", "#!/bin/sh\nenv > '"+s.path("env")+"'\necho end >> \"$RECORD\"\n")
	w := s.start("", "NOTIFY_SOCKET="+s.path("notify"))
	m.hears("READY=1")
	s.publish("build.1", "")
	s.recorded("end")
	if env := s.read("env"); strings.Contains(env, "NOTIFY_SOCKET") || !strings.Contains(env, "JOB_ENTITY=build.1") {
		t.Errorf("its environment:\n%s", env)
	}
	w.signal(syscall.SIGTERM)
	w.stops(10 * time.Second)
}
