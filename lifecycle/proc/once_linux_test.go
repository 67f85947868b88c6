package proc

import (
	"bytes"
	"io"
	"testing"
)

// fleeting is the environment of a process that begins another program after each read.
type fleeting struct{ text []byte }

func (f *fleeting) Read(p []byte) (int, error) {
	if len(f.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.text)
	f.text = nil
	return n, nil
}

func (f *fleeting) Close() error { return nil }

func TestAnEnvironmentIsReadAsAWhole(t *testing.T) {
	for _, size := range []int{0, 1, 600, 16<<10 - 1, 16 << 10, 16<<10 + 1, 2 << 20} {
		text := bytes.Repeat([]byte("a"), size)
		got, err := atOnce(func() (io.ReadCloser, error) { return &fleeting{text}, nil })
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("of %d bytes %d were read, %v", size, len(got), err)
		}
	}
}
