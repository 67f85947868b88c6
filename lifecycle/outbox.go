package lifecycle

import (
	"os"
	"sync"
	"time"

	"github.com/seriatim/seriatim/lifecycle/frames"
)

// outbox holds the frames that a child has not taken yet. Writers append and go on; one goroutine (run) writes, many
// frames at a time when the child is slow. It counts bytes, so that in the end it can tell which frames the child never
// read: those jobs did not start.
type outbox struct {
	pipe *os.File
	wake chan struct{} // holds one: there is something to do
	quit chan struct{} // closed by cut

	mu     sync.Mutex
	buf    []byte
	added  int64 // bytes ever appended
	taken  int64 // bytes that the pipe took
	ending bool  // close the pipe when buf is empty
	broken bool  // nobody writes any more
}

// keepBuffer is the largest buffer that is kept for the next frames.
const keepBuffer = 1 << 20

func newOutbox(pipe *os.File) *outbox {
	return &outbox{pipe: pipe, wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

// job appends a job's frame and returns where in the stream it begins.
func (o *outbox) job(j *frames.Job) (at int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.appended(frames.AppendJob(o.buf, j))
}

func (o *outbox) cancel(run uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appended(frames.AppendCancel(o.buf, run))
}

func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.appended(frames.AppendStop(o.buf))
}

// end closes the pipe once everything is written.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ending = true
	o.poke()
}

func (o *outbox) appended(buf []byte) (at int64) {
	at = o.added
	o.added += int64(len(buf) - len(o.buf))
	if !o.broken {
		o.buf = buf
		o.poke()
	}
	return at
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run writes until the pipe breaks (the error says how), is cut, or everything is written after end.
func (o *outbox) run() error {
	var spare []byte
	for {
		o.mu.Lock()
		next, ending := o.buf, o.ending
		o.buf = spare[:0]
		o.mu.Unlock()
		if len(next) == 0 {
			if ending {
				return o.pipe.Close()
			}
			select {
			case <-o.wake:
			case <-o.quit:
				return nil
			}
		} else if err := o.write(next); err != nil {
			return err
		}
		if spare = next; cap(spare) > keepBuffer {
			spare = nil
		}
	}
}

func (o *outbox) write(b []byte) error {
	n, err := o.pipe.Write(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken += int64(n)
	if err != nil {
		o.broken, o.buf = true, nil
	}
	return err
}

// cut makes run return without waiting for the child. The group is gone, or is given up.
func (o *outbox) cut() {
	_ = o.pipe.SetWriteDeadline(time.Unix(1, 0))
	close(o.quit)
}

// seen is how many bytes the child has taken out of the pipe so far.
func (o *outbox) seen() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.taken - unread(o.pipe)
}

// read is the same in the end, and closes the pipe. Only after run has returned.
func (o *outbox) read() int64 {
	n := o.seen()
	_ = o.pipe.Close()
	return n
}
