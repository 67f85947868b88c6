package lifecycle

import (
	"bytes"
	"os"
	"strconv"
)

// RSS is a process's resident memory in bytes; 0 when it cannot be read, as on macOS. Any goroutine may call it.
func RSS(pid int) int64 { return rssBytes(pid) }

// PSS is a process's proportional share of memory in bytes: what it has in common with others is counted once in all. It
// costs up to some milliseconds; 0 when it cannot be read, as on macOS. Any goroutine may call it.
func PSS(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			kib, _ := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
			return kib << 10
		}
	}
	return 0
}
