//go:build unix && !linux

package lifecycle

// ioctlPending asks how many bytes are in a pipe: FIONREAD, the same number on all of these systems.
const ioctlPending = 0x4004667f
