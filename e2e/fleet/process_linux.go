package fleet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Leftovers lists the processes that carry the fleet's mark and still live.
func Leftovers(dir string) []int { return marked(dir + "\x00") }

// LeftoversUnder lists those of all fleets whose folder is in dir.
func LeftoversUnder(dir string) []int { return marked(dir + "/") }

// marked says that there are none only after a second look: a process has no environment for a moment while it becomes
// another program, and one that was listed may have left a child behind when it is looked at.
func marked(with string) []int {
	pids := look(with)
	if len(pids) == 0 {
		time.Sleep(10 * time.Millisecond)
		pids = look(with)
	}
	return pids
}

func look(with string) []int {
	var pids []int
	mark := []byte(Mark + "=" + with)
	paths, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well formed
	for _, path := range paths {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(append(env, 0), mark) {
			continue // of somebody else, or gone
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
