package lifecycle

import (
	"os"
	"runtime"
)

// launcher starts processes from one operating system thread. The signal that a child gets when its parent dies follows
// the *thread* that started it, not the process: started from any thread, a child would be killed as soon as the Go
// runtime ends that one. So the thread is held, and ends only by stop, which a pool calls when its last group is gone;
// what could not be killed until then is killed by that.
type launcher struct {
	who      identity
	requests chan *launch
	done     chan struct{}
}

type launch struct {
	path string
	argv []string
	attr *os.ProcAttr

	proc  *os.Process
	mark  string
	err   error
	ready chan struct{}
}

func newLauncher(who identity) *launcher {
	l := &launcher{who: who, requests: make(chan *launch), done: make(chan struct{})}
	go l.run()
	return l
}

// run never unlocks its thread: when it returns, the thread ends.
func (l *launcher) run() {
	defer close(l.done)
	runtime.LockOSThread()
	for r := range l.requests {
		r.proc, r.mark, r.err = family.start(func(mark string) (*os.Process, error) {
			r.attr.Env = withMark(r.attr.Env, mark)
			return os.StartProcess(r.path, r.argv, r.attr)
		})
		close(r.ready)
	}
}

// start starts a process that leads its own group; mark is what it and its orphans are known by. Any goroutine, not after
// stop.
func (l *launcher) start(path string, argv, env []string, files []*os.File) (proc *os.Process, mark string, err error) {
	r := &launch{path: path, argv: argv, ready: make(chan struct{})}
	r.attr = &os.ProcAttr{Env: env, Files: files, Sys: ownGroup()}
	r.attr.Sys.Credential = l.who.credential
	l.requests <- r
	<-r.ready
	return r.proc, r.mark, r.err
}

// stop ends the thread and waits for it.
func (l *launcher) stop() {
	close(l.requests)
	<-l.done
}
