package guardian

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// slim gives memory back that only the start needed. The guardian runs little of a program that is mostly the engine's:
// the heap that reading a configuration left is freed, and those pages of the program's file that were read so far are
// let go of; what is needed of them comes back from the file by itself.
func slim() {
	debug.SetGCPercent(20) // it makes little garbage, and slowly
	debug.FreeOSMemory()
	exe, err := os.Executable()
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		// Only what cannot have been written to: those pages are the file's.
		if len(fields) < 6 || fields[5] != exe || len(fields[1]) != 4 || fields[1][0] != 'r' || fields[1][1] != '-' {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		begin, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil {
			// A refusal costs memory, nothing else.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED)
		}
	}
}
