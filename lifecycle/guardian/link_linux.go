package guardian

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle/proc"
)

// In an engine the first thread belongs to main's goroutine. The kernel gives orphans to the first thread and lists
// children by thread; so whatever other goroutines start, by os/exec for example, is never taken for an orphan.
func init() {
	if len(os.Args) > 0 && os.Args[0] == EngineName {
		runtime.LockOSThread()
	}
}

// attachHere takes the pipes over, and puts on the badge. Whatever this process starts must not have the pipes: the
// guardian would never see their end.
func attachHere(name string) (in, out *os.File, err error) {
	for _, fd := range []int{linkIn, linkOut} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return nil, nil, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, nil, unix.EINVAL
		}
		unix.CloseOnExec(fd)
		// So that a write that waits for the guardian can be given up.
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, nil, err
		}
	}
	if i, err := parseInstance(name); err == nil {
		// Without a badge only the environment tells whose a process is: enough for all that do not hide.
		_ = proc.SetBadge(i.badge())
	}
	// A name is for people who look; without one it is listed by its file.
	_ = proc.SetName(EngineName)
	return os.NewFile(linkIn, "from the guardian"), os.NewFile(linkOut, "to the guardian"), nil
}

func startOf(pid int) uint64 {
	s, err := proc.Read(pid)
	if err != nil {
		return 0
	}
	return s.Start
}
