package memory

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A child that has not begun a program of its own is counted unless it lives in its parent's memory.
func TestTwins(t *testing.T) {
	refused := errors.ErrUnsupported
	for _, c := range []struct {
		what   string
		embryo bool
		shares bool
		err    error
		first  int64 // kilobytes at the first look, and at one a while later
		second int64
	}{
		{"it has begun a program", false, true, nil, 500, 500},
		{"it is about to", true, true, nil, 300, 300},
		{"a fork that stays one", true, false, nil, 500, 500},
		{"one of both is gone", true, false, syscall.ESRCH, 500, 500},
		{"the kernel does not say", true, false, refused, 300, 500},
		{"it does not say, of a program", false, false, refused, 500, 500},
	} {
		t.Run(c.what, func(t *testing.T) {
			tab := newTable(t)
			tab.put(one, os.Getpid(), one, one, 5, 1000)
			tab.put(one+1, one, one, one, 5, 1000)
			if c.embryo {
				tab.write(one+1, "stat", strings.Replace(tab.stat(one+1), " 4194560 ", fmt.Sprintf(" %d ", 4194560|forkNoExec), 1))
			}
			tab.write(one, "smaps_rollup", "x\nPss: 300 kB\n")
			tab.write(one+1, "smaps_rollup", "x\nPss: 200 kB\n")
			r := NewReader(tab.dir)
			defer r.Close()
			r.shares = func(pid, other int) (bool, error) {
				if pid != one+1 || other != one {
					t.Errorf("asked for %d and %d", pid, other)
				}
				return c.shares, c.err
			}
			now := time.Now()
			r.now = func() time.Time { return now }
			for look, want := range []int64{c.first, c.second} {
				tab.scan(r, one)
				if s, _ := r.Size(one, 1); s.Bytes != want<<10 {
					t.Errorf("look %d: %d kB, want %d", look+1, s.Bytes>>10, want)
				}
				now = now.Add(embryonic)
			}
		})
	}
}

func TestSharesMemory(t *testing.T) {
	same, err := sharesMemory(os.Getpid(), os.Getpid())
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, errors.ErrUnsupported) {
		t.Log("the kernel does not say:", err) // a filter of system calls, or no Linux
		return
	}
	if !same || err != nil {
		t.Error("a process does not share its own memory:", err)
	}
	if same, err := sharesMemory(os.Getpid(), os.Getppid()); same || err != nil && !errors.Is(err, syscall.EPERM) {
		t.Error("the parent's memory is taken for this process's:", same, err)
	}
}

// What a twin shows is not what its child has grown by: jobs are blamed for that.
func TestATwinIsNotResident(t *testing.T) {
	tab := newTable(t)
	tab.put(one, os.Getpid(), one, one, 5, 1000)
	tab.put(one+1, one, one, one, 5, 1000)
	tab.write(one+1, "stat", strings.Replace(tab.stat(one+1), " 4194560 ", fmt.Sprintf(" %d ", 4194560|forkNoExec), 1))
	r := NewReader(tab.dir)
	defer r.Close()
	r.shares = func(int, int) (bool, error) { return true, nil }
	tab.scan(r, one)
	if s, ok := r.Size(one, 1<<40); !ok || s.Resident != 1000*int64(os.Getpagesize()) {
		t.Errorf("%d pages are resident, %v", s.Resident/int64(os.Getpagesize()), ok)
	}
}
