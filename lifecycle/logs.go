package lifecycle

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// logs reads what a process prints, line by line, in a goroutine for each of its two streams. Memory is bounded by one
// buffer a stream: a process that prints faster than Log takes it waits in its write.
type logs struct {
	out, err *source
	done     sync.WaitGroup
	last     string // of the error stream; read after finish
	tail     tail
}

// lineBuffers are kept for the next process: an exec pool starts many.
var lineBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, MaxLine) }}

// readLogs starts reading. The line's Stream and Text are filled in for each line.
func readLogs(out, err *source, line LogLine, log func(LogLine)) *logs {
	l := &logs{out: out, err: err}
	out.meter, err.meter = &meter{}, &meter{}
	l.done.Go(func() { l.readLines(out, "stdout", line, log) })
	l.done.Go(func() { l.last = l.readLines(err, "stderr", line, log) })
	return l
}

// settleBound is for a log that does not take lines: one answer waits for it so long, the next ones not at all until it
// takes some. On a busy host the readers may not get a processor for a good part of it.
const settleBound = 2 * time.Second

// settle waits until what the process has printed by now is in the tail.
func (l *logs) settle() {
	out, err := l.out.meter.look(l.out.f), l.err.meter.look(l.err.f)
	if l.out.meter.has(out) && l.err.meter.has(err) {
		return
	}
	bound, cancel := context.WithTimeout(context.Background(), settleBound)
	defer cancel()
	l.out.meter.wait(out, bound.Done())
	l.err.meter.wait(err, bound.Done())
}

// finish is called when the group is gone: it takes what is still in the pipes, closes them and returns the last line
// of the error stream.
func (l *logs) finish() string {
	l.out.finish()
	l.err.finish()
	l.done.Wait()
	_ = l.out.f.Close()
	_ = l.err.f.Close()
	return l.last
}

// readLines hands on every line and returns the last one that is not blank, shortened to MaxError.
func (l *logs) readLines(from *source, stream string, line LogLine, log func(LogLine)) (last string) {
	br := lineBuffers.Get().(*bufio.Reader)
	defer lineBuffers.Put(br)
	br.Reset(from)
	defer br.Reset(nil)
	defer from.meter.caughtUp()
	line.Stream = stream
	goesOn := false // the next piece belongs to a line that began before
	for {
		piece, err := br.ReadSlice('\n')
		if len(piece) > 0 {
			line.Text = strings.ToValidUTF8(string(bytes.TrimRight(piece, "\r\n")), "\uFFFD")
			if text := strings.TrimSpace(line.Text); text != "" && !goesOn {
				last = shorten(text)
			}
			log(line)
			l.tail.add(piece)
		}
		goesOn = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !goesOn {
			return last
		}
	}
}

// shorten cuts a text to MaxError bytes, between two characters, and puts it on one line.
func shorten(text string) string {
	if len(text) > MaxError {
		end := MaxError - len("…")
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return strings.ReplaceAll(text, "\n", " ")
}
