package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
	"github.com/seriatim/seriatim/internal/problem"
)

// Tail reads along in a record while it is written. It is for watching and for aiming faults; what it says proves
// nothing, which is the checker's part. One goroutine owns it.
type Tail struct {
	// Finished counts jobs that finished at least once, Peak the most runs at one moment so far.
	Finished, Peak int
	// Moved is when something last happened.
	Moved time.Time
	// Starts counts starts by op.
	Starts map[int]int
	// On gets every event, if it is set.
	On func(record.Event)

	path string
	at   int64
	rest []byte
	done map[int]bool
	open map[runKey]record.Event
}

type runKey struct {
	pid   int
	op    int
	fence uint64
}

// NewTail begins at the beginning of a record, which need not exist yet.
func NewTail(path string) *Tail {
	return &Tail{path: path, Moved: time.Now(), Starts: map[int]int{}, done: map[int]bool{}, open: map[runKey]record.Event{}}
}

// Poll reads what was added.
func (t *Tail) Poll() error {
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return problem.New("read along", err, "")
	}
	defer f.Close()
	added, err := io.ReadAll(io.NewSectionReader(f, t.at, 1<<40))
	if err != nil {
		return problem.New("read along", err, "")
	}
	t.at += int64(len(added))
	text := append(t.rest, added...)
	for {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			break
		}
		text = rest
		var e record.Event
		if json.Unmarshal(line, &e) == nil && e.T != 0 {
			t.event(e)
		}
	}
	t.rest = bytes.Clone(text)
	return nil
}

func (t *Tail) event(e record.Event) {
	t.Moved = time.Now()
	key := runKey{e.PID, e.Op, e.Fence}
	switch e.What {
	case record.Start:
		t.Starts[e.Op]++
		if e.Locked { // whoever had the lock is over, told or not
			for k, before := range t.open {
				if before.Entity == e.Entity {
					delete(t.open, k)
				}
			}
		}
		t.open[key] = e
		t.Peak = max(t.Peak, len(t.open))
	case record.Finish:
		if !t.done[e.Op] {
			t.done[e.Op] = true
			t.Finished++
		}
		delete(t.open, key)
	default:
		delete(t.open, key)
	}
	if t.On != nil {
		t.On(e)
	}
}

// Open lists the runs that have not ended.
func (t *Tail) Open() []record.Event {
	runs := make([]record.Event, 0, len(t.open))
	for _, e := range t.open {
		runs = append(runs, e)
	}
	return runs
}

// OpenOf lists the runs of one worker that have not ended.
func (t *Tail) OpenOf(worker string) (runs []record.Event) {
	for _, e := range t.open {
		if e.Worker == worker {
			runs = append(runs, e)
		}
	}
	return runs
}

// Killed forgets the runs of a worker that was killed: they have no end.
func (t *Tail) Killed(worker string) {
	for k, e := range t.open {
		if e.Worker == worker {
			delete(t.open, k)
		}
	}
}
