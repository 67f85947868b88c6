package memory

import "golang.org/x/sys/unix"

// sharesMemory asks the kernel whether two processes have one and the same memory. The call is refused where a filter of
// system calls leaves it out, which the default one of many container platforms does.
func sharesMemory(a, b int) (bool, error) {
	const kcmpVM = 1 // KCMP_VM of linux/kcmp.h
	order, _, errno := unix.RawSyscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpVM, 0, 0, 0)
	if errno != 0 {
		return false, errno
	}
	return order == 0, nil
}
