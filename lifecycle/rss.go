package lifecycle

// RSS is a process's resident memory in bytes; 0 when it cannot be read, as on macOS. Any goroutine may call it.
func RSS(pid int) int64 { return rssBytes(pid) }
