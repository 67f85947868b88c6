package guardian

import (
	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

// procTable is the process table itself.
type procTable struct{}

func (procTable) parent(pid int) int {
	s, err := proc.Read(pid)
	if err != nil {
		return 0
	}
	return s.PPID
}

func (procTable) args(pid int) []string { return proc.Args(pid) }

func (procTable) hearsTerm(pid int) (hears, known bool) {
	caught, blocked, err := proc.Signals(pid)
	return (caught|blocked)&(1<<(unix.SIGTERM-1)) != 0, err == nil
}
