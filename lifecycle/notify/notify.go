// Package notify tells the service manager, as sd_notify(3) does, that the daemon is ready, stops, reloads, or lives.
//
// A service manager that is not there (no NOTIFY_SOCKET) is told nothing, at no cost. A message that cannot be sent is
// an error for the caller to log; nothing is retried, because the manager has its own timeouts.
//
// The variables are taken out of the environment by Take, so that no process started later can speak in the daemon's
// name. A Manager may be used from any goroutine.
package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The variables of the protocol.
const (
	socketVariable   = "NOTIFY_SOCKET"
	intervalVariable = "WATCHDOG_USEC"
	pidVariable      = "WATCHDOG_PID"
)

// Manager is the service manager. The zero value is one that is not there.
type Manager struct {
	addr     string
	watchdog time.Duration
}

// Take reads what the service manager said to this process, or to its parent top, and removes it from the environment.
func Take(top int) Manager {
	m := Manager{addr: os.Getenv(socketVariable)}
	usec, err := strconv.ParseInt(os.Getenv(intervalVariable), 10, 64)
	pid := os.Getenv(pidVariable)
	if err == nil && usec > 0 && m.addr != "" && (pid == "" || pid == strconv.Itoa(os.Getpid()) || pid == strconv.Itoa(top)) {
		m.watchdog = time.Duration(usec) * time.Microsecond
	}
	for _, name := range []string{socketVariable, intervalVariable, pidVariable} {
		_ = os.Unsetenv(name) // fails only for names that are no names
	}
	return m
}

// Present says whether there is a manager.
func (m Manager) Present() bool { return m.addr != "" }

// Watchdog is how often Alive has to be said, with time to spare; 0 is never.
func (m Manager) Watchdog() time.Duration { return m.watchdog / 2 }

// Ready says that the start, or a reload, is over.
func (m Manager) Ready(status string) error { return m.send("READY=1", "STATUS="+line(status)) }

// Stopping says that the stop has begun.
func (m Manager) Stopping(status string) error { return m.send("STOPPING=1", "STATUS="+line(status)) }

// Reloading says that the configuration is being read anew; Ready ends that.
func (m Manager) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	return m.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/1000, 10))
}

// Alive keeps the manager's watchdog from biting.
func (m Manager) Alive() error { return m.send("WATCHDOG=1") }

// Status is a line for people.
func (m Manager) Status(status string) error { return m.send("STATUS=" + line(status)) }

// Extend asks for so much time more, from now, before the start or the stop counts as failed.
func (m Manager) Extend(by time.Duration, status string) error {
	return m.send("EXTEND_TIMEOUT_USEC="+strconv.FormatInt(by.Microseconds(), 10), "STATUS="+line(status))
}

// line keeps a text from starting an assignment of its own.
func line(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// sendBound is how long a manager that does not read may hold up the caller.
const sendBound = 2 * time.Second

func (m Manager) send(assignments ...string) error {
	if m.addr == "" {
		return nil
	}
	if m.addr[0] != '/' && m.addr[0] != '@' {
		return fmt.Errorf("notify the service manager: %s=%q: %w", socketVariable, m.addr, errors.ErrUnsupported)
	}
	conn, err := net.DialTimeout("unixgram", m.addr, sendBound) // a name that begins with @ is abstract
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(sendBound))
	if _, err := conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
