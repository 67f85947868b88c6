package lifecycle

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// source is our end of a pipe that a child writes to. Its end of file cannot be waited for: a process that left the
// group may hold the other end for ever. So after finish, Read gives what is in the pipe by then and says io.EOF.
// One goroutine reads; finish may be called by another one, once.
type source struct {
	f        *os.File
	draining bool
	left     int
	meter    *meter // nil when nobody waits for what is read
}

// drainMost bounds what is read after finish, against a stranger that goes on writing. No pipe of an ordinary user
// holds more.
const drainMost = 1 << 20

func (s *source) Read(p []byte) (int, error) {
	if !s.draining {
		n, err := s.await(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		s.draining, s.left = true, drainMost
		if err := s.f.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.readNow(p)
	s.left -= n
	if n == 0 && (err == nil || errors.Is(err, syscall.EAGAIN)) {
		return 0, io.EOF
	}
	return n, err
}

// await reads once, as soon as there is something. Who reads again has dealt with what it got before.
func (s *source) await(p []byte) (n int, err error) {
	if s.meter == nil {
		return s.f.Read(p)
	}
	s.meter.caughtUp()
	raw, err := s.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	rawErr := raw.Read(func(fd uintptr) bool {
		n, err = s.meter.read(fd, p)
		return !errors.Is(err, syscall.EAGAIN)
	})
	switch {
	case rawErr != nil:
		return 0, rawErr
	case n == 0 && err == nil:
		return 0, io.EOF
	}
	return n, err
}

// readNow reads once, without waiting.
func (s *source) readNow(p []byte) (n int, err error) {
	raw, err := s.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	rawErr := raw.Read(func(fd uintptr) bool {
		for {
			n, err = syscall.Read(int(fd), p)
			if !errors.Is(err, syscall.EINTR) {
				return true
			}
		}
	})
	return max(n, 0), errors.Join(rawErr, err)
}

// finish makes the reader come to an end without waiting for the other end's holders.
func (s *source) finish() { _ = s.f.SetReadDeadline(time.Unix(1, 0)) }

// writeNow writes what the pipe takes without waiting.
func writeNow(f *os.File, b []byte) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), b)
		return true
	})
	return max(n, 0)
}

// pipes collects the descriptors of a process that is about to be started: the ends that it gets, and ours.
type pipes struct {
	theirs []*os.File
	ours   []*os.File
}

// out adds a pipe that the process writes to.
func (p *pipes) out() (*source, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.theirs, p.ours = append(p.theirs, w), append(p.ours, r)
	return &source{f: r}, nil
}

// in adds a pipe that the process reads from.
func (p *pipes) in() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.theirs, p.ours = append(p.theirs, r), append(p.ours, w)
	return w, nil
}

// null adds an empty input.
func (p *pipes) null() error {
	f, err := os.Open(os.DevNull)
	if err == nil {
		p.theirs = append(p.theirs, f)
	}
	return err
}

// closeTheirs is called when the process has them, or will never have.
func (p *pipes) closeTheirs() { closeAll(p.theirs) }

func (p *pipes) closeAll() { closeAll(p.theirs); closeAll(p.ours) }

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // closed twice is no harm
	}
}
