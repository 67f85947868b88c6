package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// screen tells people how far it is: one line that changes on a terminal, else a line now and then. Its methods may be
// called from any goroutine.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	live  bool
	begun time.Time

	last     time.Time // of the progress line
	lastDone int
	rate     float64
	shown    bool // a changing line stands on the terminal
}

const (
	liveEvery  = 100 * time.Millisecond
	plainEvery = 5 * time.Second
)

// event prints a line that stays.
func (s *screen) event(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(format, args...)
}

func (s *screen) line(format string, args ...any) {
	s.clear()
	fmt.Fprintf(s.out, "%5.1fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// say prints a line without the time.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *screen) clear() {
	if s.shown {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.shown = false
	}
}

// progress shows how far it is, no more often than is of use.
func (s *screen) progress(done, total, now, peak int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	every := plainEvery
	if s.live {
		every = liveEvery
	}
	since := time.Since(s.last)
	if since < every {
		return
	}
	if !s.last.IsZero() {
		fresh := float64(done-s.lastDone) / since.Seconds()
		weight := min(since.Seconds(), 1) // the rate of about the last second
		s.rate += (fresh - s.rate) * weight
	}
	s.last, s.lastDone = time.Now(), done
	if !s.live {
		s.line("%s of %s jobs, %s/s, %d at once, peak %d", comma(done), comma(total), comma(int(s.rate)), now, peak)
		return
	}
	const width = 28
	full := done * width / max(total, 1)
	fmt.Fprintf(s.out, "\r%5.1fs  [%s%s] %s/%s  %s/s  %d at once, peak %d\x1b[K", time.Since(s.begun).Seconds(),
		strings.Repeat("=", full), strings.Repeat(" ", width-full), comma(done), comma(total), comma(int(s.rate)), now, peak)
	s.shown = true
}

func comma(n int) string { return humanize.Comma(int64(n)) }
