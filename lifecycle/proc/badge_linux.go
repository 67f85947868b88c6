package proc

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A badge is a number that a process wears and that all its descendants inherit. Neither an emptied environment, nor a
// session of its own, nor closed descriptors take it off: it is the soft limit of the processor time that a real-time
// process may use without a pause, in microseconds. Badges begin at 73,000 years, so the limit never limits anything.
const badges = 1 << 62

// SetBadge puts a badge on this process, a number below 1<<62; it replaces an inherited one.
func SetBadge(badge uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RTTIME, &limit); err != nil {
		return err
	}
	limit.Cur = badges | badge
	if limit.Cur > limit.Max {
		return unix.EPERM
	}
	return unix.Setrlimit(unix.RLIMIT_RTTIME, &limit)
}

// Badge reads a process's badge; false when it wears none, or may not be looked at.
func Badge(pid int) (badge uint64, ok bool) {
	text, err := os.ReadFile(path(pid, "limits"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "Max realtime timeout"); found {
			soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, err := strconv.ParseUint(soft, 10, 64) // or the word unlimited
			return n &^ badges, err == nil && n&badges != 0 && n>>63 == 0
		}
	}
	return 0, false
}
