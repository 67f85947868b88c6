//go:build unix

package control

import (
	"os"
	"syscall"
)

// owner is the user that a file belongs to.
func owner(info os.FileInfo) (uid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(s.Uid), true
}
