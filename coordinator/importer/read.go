package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"
)

// batch is what goes from the reader to the sender: jobs in the order of their lines.
type batch struct {
	jobs []*job
	// read is how far the input was read, in bytes.
	read int64
	// err is why nothing comes after these jobs; io.EOF at the end.
	err error
}

// job is a line that is ready to be published.
type job struct {
	line int
	lane string
	msg  *nats.Msg
}

const batchJobs, batchBytes = 256, 1 << 20

// reader turns input into batches. It runs on its own goroutine, so that parsing goes on while answers come in.
type reader struct {
	in      *bufio.Reader
	maxLine int
	make    func(Line) (*nats.Msg, string, error)
	out     chan batch
	stop    chan struct{} // closed by the sender when it wants no more
}

// run reads until the end, the first error, or stop. It closes out.
func (r *reader) run() {
	defer close(r.out)
	var b batch
	line, size, read := 0, 0, int64(0)
	flush := func() bool {
		b.read = read
		select {
		case r.out <- b:
		case <-r.stop:
			return false
		}
		b, size = batch{}, 0
		return true
	}
	for {
		text, err := r.next()
		read += int64(len(text))
		line++
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // some editors begin a file so
		}
		if err != nil && !errors.Is(err, io.EOF) {
			b.err = &LineError{Line: line, Err: err}
			flush()
			return
		}
		if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 {
			j, bad := r.job(line, trimmed)
			if bad != nil {
				b.err = &LineError{Line: line, Err: bad}
				flush()
				return
			}
			b.jobs = append(b.jobs, j)
			size += len(text)
		}
		if errors.Is(err, io.EOF) {
			b.err = io.EOF
			flush()
			return
		}
		// What is there goes at once when the input has a pause, as a pipe from a slow program does.
		if len(b.jobs) >= batchJobs || size >= batchBytes || len(b.jobs) > 0 && r.in.Buffered() == 0 {
			if !flush() {
				return
			}
		}
	}
}

func (r *reader) job(line int, text []byte) (*job, error) {
	l, err := ParseLine(text)
	if err != nil {
		return nil, err
	}
	msg, lane, err := r.make(l)
	if err != nil {
		return nil, err
	}
	return &job{line: line, lane: lane, msg: msg}, nil
}

// next returns one line with its end, in memory of its own. A line that is too long is an error before it is held.
func (r *reader) next() ([]byte, error) {
	var whole []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if len(whole)+len(part) > r.maxLine {
			return nil, fmt.Errorf("longer than %d bytes, which is the most that a line may have", r.maxLine)
		}
		whole = append(whole, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return whole, err
		}
	}
}
