package lifecycle

import (
	"runtime"
	"sync"
)

// ReserveThreads has this process start so many threads now, beside one for each processor. The Go runtime keeps threads
// that it does not need, and ends the whole process when it needs one and the system has none left, which is exactly when a
// job has filled the process table. With a reserve it is the jobs that cannot be started then. It costs some ten kilobytes
// a thread. To be called once, from any goroutine.
func ReserveThreads(n int) {
	n += runtime.GOMAXPROCS(0)
	var there, gone sync.WaitGroup
	end := make(chan struct{})
	there.Add(n)
	for range n {
		gone.Go(func() {
			runtime.LockOSThread() // each one that waits has a thread to itself
			defer runtime.UnlockOSThread()
			there.Done()
			<-end
		})
	}
	there.Wait()
	close(end)
	gone.Wait()
}
