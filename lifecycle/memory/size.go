package memory

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Size is how large a child's tree is.
type Size struct {
	// Resident is the sum of the resident sizes: pages that several processes share count for each of them.
	Resident int64
	// Bytes is what limits are compared with: Resident while that is below all of them, else the exact size, in which
	// shared pages are divided among those who share them.
	Bytes int64
}

// stale is how many looks an exact reading is good for, as long as the resident size has not grown towards the limit.
// The exact size may grow beside it, when a fork writes to what it had shared.
const stale = 5

// Size is the size of a leader's tree, as the last Scan found it. It is read exactly when the resident sum is above
// limit. False: nothing could be read, the tree is gone or hidden; or the exact size could not be read for once.
func (r *Reader) Size(leader int, limit int64) (Size, bool) {
	t := r.trees[leader]
	if t == nil {
		return Size{}, false
	}
	var s Size
	known, whole := false, true
	r.counted = r.counted[:0]
	for _, pid := range t.pids {
		if r.twin(pid) {
			whole = false // it may count soon
			continue
		}
		r.counted = append(r.counted, pid)
		if n, ok := r.resident(pid); ok {
			s.Resident += n
			known = true
		}
	}
	s.Bytes = s.Resident
	if limit <= 0 || s.Resident <= limit {
		t.exact = 0
		return s, known
	}
	t.age++
	if grown := max(0, s.Resident-t.resident); t.exact == 0 || t.age >= stale || t.exact+grown > limit {
		t.resident, t.age = s.Resident, 0
		var ok bool
		if t.exact, ok = r.exact(r.counted); !ok {
			t.exact = 0
			return s, false
		}
		if !whole {
			t.age = stale
		}
	}
	s.Bytes = min(s.Resident, t.exact+max(0, s.Resident-t.resident))
	return s, known
}

// resident is one process's resident size. A process that has ended meanwhile has none.
func (r *Reader) resident(pid int) (int64, bool) {
	m := r.members[pid]
	if m == nil || m.statm == nil {
		return 0, false
	}
	b, err := r.read(m.statm)
	if err != nil {
		return 0, false
	}
	_, rest, _ := bytes.Cut(b, []byte(" "))
	field, _, _ := bytes.Cut(rest, []byte(" "))
	pages, err := strconv.ParseInt(string(field), 10, 64)
	return pages * r.page, err == nil
}

// exact is the exact size of processes. One that does not let itself be read so (another user's, an old kernel) counts with
// its resident size. False when another reason kept one from being read, such as that no more files can be open: its
// resident size may be many times the exact one.
func (r *Reader) exact(pids []int) (sum int64, ok bool) {
	for _, pid := range pids {
		pss, err := r.pss(pid)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH): // it may have ended
		case errors.Is(err, errNoPSS), errors.Is(err, fs.ErrPermission):
			pss, _ = r.resident(pid)
		default:
			return 0, false
		}
		sum += pss
	}
	return sum, true
}

var errNoPSS = errors.New("no exact size")

// pss is one process's exact size, in which a page counts by the share of it.
func (r *Reader) pss(pid int) (int64, error) {
	dir := filepath.Join(r.root, strconv.Itoa(pid))
	b, err := r.file(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if _, gone := os.Stat(dir); gone == nil {
				return 0, errNoPSS // the process is there, the file is not
			}
		}
		if errors.Is(err, io.EOF) {
			return 0, errNoPSS
		}
		return 0, err
	}
	_, rest, found := bytes.Cut(b, []byte("\nPss:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errNoPSS
	}
	kilobytes, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0, errNoPSS
	}
	return kilobytes << 10, nil
}
