package lifecycle

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxLog bounds Result.Log in bytes.
const MaxLog = 4 << 10

// tail keeps the end of what a process prints, on both of its streams. Any goroutine.
type tail struct {
	mu      sync.Mutex
	kept    []byte // the last MaxLog of written at least, twice that at most
	written int64  // bytes so far
}

// add appends a piece of a line as it was printed, with its line end.
func (t *tail) add(piece []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written += int64(len(piece))
	piece = lastOf(piece, MaxLog)
	if len(t.kept)+len(piece) > 2*MaxLog {
		t.kept = append(t.kept[:0], lastOf(t.kept, MaxLog-len(piece))...)
	}
	t.kept = append(t.kept, piece...)
}

// position is a mark for since.
func (t *tail) position() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.written
}

const omitted = "…\n"

// since is what was added after a mark, the end of it: at most MaxLog bytes of valid UTF-8. Where something had to be
// left out it begins with a line of "…", and then with a whole line if there is one.
func (t *tail) since(mark int64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.written - mark
	if n <= 0 {
		return ""
	}
	if n <= min(int64(len(t.kept)), MaxLog) {
		return strings.ToValidUTF8(string(lastOf(t.kept, int(n))), "?")
	}
	end := lastOf(t.kept, MaxLog-len(omitted))
	if i := bytes.IndexByte(end, '\n'); i >= 0 && i < len(end)-1 {
		end = end[i+1:]
	}
	for len(end) > 0 && !utf8.RuneStart(end[0]) {
		end = end[1:]
	}
	return omitted + strings.ToValidUTF8(string(end), "?")
}

func lastOf(b []byte, n int) []byte { return b[max(0, len(b)-max(0, n)):] }
