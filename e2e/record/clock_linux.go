package record

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now is the machine's boot clock in nanoseconds: the same for all processes, never set, never stopped.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Now().UnixNano()
	}
	return ts.Nano()
}
