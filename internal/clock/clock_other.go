//go:build !linux

package clock

import "time"

var start = time.Now()

// Boot is the time since the program started. Off Linux it may stand still during suspend: a lease is then as safe as
// the host stays awake.
func Boot() time.Duration { return time.Since(start) + time.Second }
