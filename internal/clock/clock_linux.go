package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boot is the time since the host started, suspend included (CLOCK_BOOTTIME). Any goroutine may call it.
func Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}
