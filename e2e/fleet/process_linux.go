package fleet

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Leftovers lists the processes that carry the fleet's mark and still live.
func Leftovers(dir string) []int { return marked(dir + "\x00") }

// LeftoversUnder lists those of all fleets whose folder is in dir.
func LeftoversUnder(dir string) []int { return marked(dir + "/") }

func marked(with string) []int {
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
