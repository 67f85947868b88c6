package lifecycle

import "golang.org/x/sys/unix"

// ioctlPending asks how many bytes are in a pipe.
const ioctlPending = unix.TIOCINQ
