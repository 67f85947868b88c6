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
// die, because all are stopped before the first one is killed. It waits until they are gone.
func (p *Process) KillTree() error {
	stopped := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, pid := range descendants(p.PID()) {
			if !stopped[pid] && syscall.Kill(pid, syscall.SIGSTOP) == nil {
				stopped[pid], grown = true, true
			}
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
func stat(pid int) (state byte, parent int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
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
