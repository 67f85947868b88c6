package lifecycle

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// meter knows how much of a pipe was read and how much of that was handed on. A child prints and then answers on another
// pipe: whoever reads the answer can wait until what was printed before it has been handed on.
type meter struct {
	mu       sync.Mutex
	consumed int64 // taken out of the pipe
	handed   int64 // … and dealt with
	gaveUp   int64 // one more than handed was when a wait was in vain, 0 when none was
	moved    chan struct{}
}

// read takes what is in the pipe now. It is atomic with look: what is not in the pipe any more is in consumed.
func (m *meter) read(fd uintptr, p []byte) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		n, err = syscall.Read(int(fd), p)
		if !errors.Is(err, syscall.EINTR) {
			n = max(n, 0)
			m.consumed += int64(n)
			return n, err
		}
	}
}

// caughtUp says that all that was read has been handed on.
func (m *meter) caughtUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handed = m.consumed
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// look returns where the pipe ends now.
func (m *meter) look(f *os.File) (end int64) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // a closed file has nothing to wait for
		m.mu.Lock()
		defer m.mu.Unlock()
		pending, err := unix.IoctlGetInt(int(fd), ioctlPending)
		if err != nil {
			pending = 0
		}
		end = m.consumed + int64(pending)
	})
	return end
}

// has says that all up to end was handed on.
func (m *meter) has(end int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.handed >= end
}

// wait returns when all up to end was handed on, or when bound is closed. When it was closed for one wait, the next ones
// return at once until more is handed on.
func (m *meter) wait(end int64, bound <-chan struct{}) {
	for {
		m.mu.Lock()
		if m.handed >= end || m.gaveUp == m.handed+1 {
			m.mu.Unlock()
			return
		}
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		moved, handed := m.moved, m.handed
		m.mu.Unlock()
		select {
		case <-moved:
		case <-bound:
			m.mu.Lock()
			m.gaveUp = handed + 1
			m.mu.Unlock()
			return
		}
	}
}
