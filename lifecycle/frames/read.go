package frames

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reader takes frames off a stream, one call a frame. One goroutine at a time.
type Reader struct {
	br     *bufio.Reader
	limits Limits
	long   []byte // a header that did not fit the buffer
}

// NewReader reads frames from r.
func NewReader(r io.Reader, limits Limits) *Reader {
	if limits.Header <= 0 {
		limits.Header = DefaultHeader
	}
	if limits.Body <= 0 {
		limits.Body = DefaultBody
	}
	return &Reader{br: bufio.NewReaderSize(r, 64<<10), limits: limits}
}

// Answer reads a frame from a child. At the end of the stream between two frames it returns io.EOF; bytes that are no
// frame give an *Error; an error of the stream itself comes as it is.
func (r *Reader) Answer() (Answer, error) {
	line, err := r.line()
	if err != nil {
		return Answer{}, err
	}
	a, length, ok := decodeDone(line)
	if !ok {
		if a, length, err = decodeAnswer(line); err != nil {
			return Answer{}, newError(ErrNotFrame, line, err)
		}
	}
	a.Body, err = r.body(line, length)
	return a, err
}

// Order reads a frame from workerd, for children that are written in Go. Errors are those of Answer.
func (r *Reader) Order() (Order, error) {
	line, err := r.line()
	if err != nil {
		return Order{}, err
	}
	o, length, err := decodeOrder(line)
	if err != nil {
		return Order{}, newError(ErrNotFrame, line, err)
	}
	o.Job.Body, err = r.body(line, length)
	return o, err
}

// line returns the next header without its end; the bytes are good until the next read.
func (r *Reader) line() ([]byte, error) {
	first, err := r.br.Peek(1)
	if len(first) == 0 {
		return nil, err
	}
	if first[0] != '{' {
		// Said at once: a line that never ends would otherwise be waited for.
		seen, _ := r.br.Peek(min(r.br.Buffered(), excerptLen+1))
		if end := bytes.IndexByte(seen, '\n'); end >= 0 {
			seen = seen[:end+1]
		}
		return nil, newError(ErrNotFrame, seen, nil)
	}
	r.long = r.long[:0]
	for {
		part, err := r.br.ReadSlice('\n')
		if err == nil && len(r.long) == 0 {
			if len(part)-1 > r.limits.Header {
				return nil, r.tooLong(part)
			}
			return part[:len(part)-1], nil
		}
		r.long = append(r.long, part...)
		switch {
		case len(bytes.TrimSuffix(r.long, []byte{'\n'})) > r.limits.Header:
			return nil, r.tooLong(r.long)
		case err == nil:
			return r.long[:len(r.long)-1], nil
		case errors.Is(err, io.EOF):
			return nil, newError(ErrTruncated, r.long, nil)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (r *Reader) tooLong(line []byte) error {
	return newError(ErrLongHeader, line, fmt.Errorf("more than %d bytes", r.limits.Header))
}

// body reads length bytes; -1 is no body. The buffer grows with what really comes: a length is only a claim.
func (r *Reader) body(line []byte, length int64) ([]byte, error) {
	if length < 0 {
		return nil, nil
	}
	if length > int64(r.limits.Body) {
		return nil, newError(ErrLongBody, line, fmt.Errorf("%d bytes, at most %d are taken", length, r.limits.Body))
	}
	const step = 64 << 10
	if length <= step {
		body := make([]byte, length)
		_, err := io.ReadFull(r.br, body)
		return body, r.endInBody(length, err)
	}
	var buf bytes.Buffer
	buf.Grow(step)
	_, err := io.CopyN(&buf, r.br, length)
	return buf.Bytes(), r.endInBody(length, err)
}

func (r *Reader) endInBody(length int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return newError(ErrTruncated, nil, fmt.Errorf("less than the %d bytes of its body came", length))
	}
	return err
}
