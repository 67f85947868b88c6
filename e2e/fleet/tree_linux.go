package fleet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// KillTree ends the process and all its descendants as the death of a host does: none of them gets to see another one
// die, because all are stopped before the first one is killed. It waits until they are gone. Of a process that has ended
// nothing is killed: its number may be another one's.
func (p *Process) KillTree() error {
	if p.Ended() {
		return nil
	}
	stopped := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, pid := range descendants(p.PID()) {
			if !stopped[pid] && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				stopped[pid], grown = true, true
			}
		}
		// A child that is being made when its parent is told to stop still comes, a moment later.
		for end := time.Now().Add(10 * time.Second); !rest(stopped) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	for pid := range stopped {
		_ = syscall.Kill(pid, syscall.SIGKILL) // stopped, so it is still the same process
	}
	p.Kill()
	for end := time.Now().Add(10 * time.Second); len(stopped) > 0; time.Sleep(time.Millisecond) {
		for pid := range stopped {
			if state, _, ok := stat(pid); !ok || state == 'Z' || state == 'X' {
				delete(stopped, pid)
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d descendants of %s do not die", len(stopped), p.Name)
		}
	}
	return nil
}

// rest says whether none of the processes is at work any more. One of their threads may wait for a child that was stopped
// before it began its program; that child is there already.
func rest(pids map[int]bool) bool {
	for pid := range pids {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid)) // the pattern is well formed
		for _, path := range threads {
			if state, _, ok := read(path); ok && bytes.IndexByte([]byte("TtDZX"), state) < 0 {
				return false
			}
		}
	}
	return true
}

// descendants lists the living ones of root, and root, the elders first.
func descendants(root int) []int {
	children := map[int][]int{}
	paths, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if state, parent, ok := stat(pid); ok && state != 'Z' && state != 'X' {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// stat reads a process's state and parent.
func stat(pid int) (state byte, parent int, ok bool) { return read(fmt.Sprintf("/proc/%d/stat", pid)) }

func read(path string) (state byte, parent int, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return fields[0][0], parent, err == nil
}

// Lives says whether a process runs; one that waits to be reaped does not.
func Lives(pid int) bool {
	state, _, ok := stat(pid)
	return ok && state != 'Z' && state != 'X'
}
