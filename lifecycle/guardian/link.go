package guardian

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// Link is the engine's end of the pipes to its guardian. Its methods may be called from any goroutine, and by a nil Link,
// which is that of a process without a guardian: it tells nobody and loses nobody.
//
// A guardian that is stopped does not stop the engine: what it has not read yet is replaced by what is newer.
type Link struct {
	pid      int
	instance string
	in, out  *os.File

	lost      chan struct{} // closed by the reader
	greeted   chan struct{} // closed by the reader when the guardian has spoken, or is lost
	predeces  wirePredecessor
	goroutine sync.WaitGroup

	mu      sync.Mutex
	wake    chan struct{} // holds one
	closed  bool
	watch   *wireWatch
	starts  map[int]uint64 // of the groups that were told last, by pid
	last    wireWatch      // told
	told    bool
	held    *Held
	listens bool
	leave   *wireLeave
	left    chan struct{} // closed when leave was written
}

// The engine's ends of the pipes.
const (
	linkIn  = 3
	linkOut = 4
)

// ErrUnlinked is an engine that was started otherwise than by a guardian.
var ErrUnlinked = errors.New("it was started as an engine, but not by a guardian")

// Attach makes this process the engine of the guardian that started it. It is false, with a nil Link, in a process that no
// guardian started. It has to be called before anything is started, and once.
func Attach() (*Link, bool, error) {
	text, ok := os.LookupEnv(PIDVariable)
	if !ok || len(os.Args) == 0 || os.Args[0] != EngineName {
		return nil, false, nil
	}
	l := &Link{
		instance: os.Getenv(InstanceVariable), lost: make(chan struct{}), greeted: make(chan struct{}),
		wake: make(chan struct{}, 1), left: make(chan struct{}),
	}
	var err error
	if l.pid, err = strconv.Atoi(text); err != nil {
		return nil, false, problem.New("attach to the guardian", ErrUnlinked, "unset "+PIDVariable)
	}
	_ = os.Unsetenv(PIDVariable) // cannot fail for a name without a =
	_ = os.Unsetenv(InstanceVariable)
	if l.in, l.out, err = attachHere(l.instance); err != nil {
		return nil, false, problem.New("attach to the guardian", errors.Join(ErrUnlinked, err), "unset "+PIDVariable)
	}
	l.goroutine.Go(l.read)
	l.goroutine.Go(l.write)
	return l, true, nil
}

// PID is the guardian's: the one that is shown and signalled. Without a guardian it is the own one.
func (l *Link) PID() int {
	if l == nil {
		return os.Getpid()
	}
	return l.pid
}

// Instance names this workerd among all of the host, for marks.
func (l *Link) Instance() string {
	if l == nil {
		return ""
	}
	return l.instance
}

// Lost is closed when the guardian has died. Then nobody ends what this process leaves: it has to end its jobs, hand them
// back if it can do so soon, and exit.
func (l *Link) Lost() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.lost
}

// Listening tells that this process handles its signals. The guardian keeps signals back until then.
func (l *Link) Listening() {
	l.tell(func() { l.listens = true })
}

// Watch tells the deadlines as they are now. Saying the same again costs nothing; it should be said several times a
// second. Once a session was told, a watch with Session 0 has to follow when it ends in order.
func (l *Link) Watch(d Deadlines) {
	if l == nil {
		return
	}
	l.tell(func() {
		w := wireWatch{Session: d.Session}
		starts := make(map[int]uint64, len(d.Groups))
		for _, g := range d.Groups {
			start := l.starts[g.PID] // it is the same process as a moment ago
			if start == 0 {
				start = startOf(g.PID)
			}
			if start != 0 { // else it has ended
				starts[g.PID] = start
				w.Groups = append(w.Groups, wireGroup{PID: g.PID, Start: start, Until: g.Until})
			}
		}
		slices.SortFunc(w.Groups, func(a, b wireGroup) int { return a.PID - b.PID })
		l.watch, l.starts = &w, starts
	})
}

// Note tells what is in hand, for a successor. The lanes are the caller's to change after it has returned.
func (l *Link) Note(h Held) {
	if l == nil {
		return
	}
	h.Lanes = slices.Clone(h.Lanes[:min(len(h.Lanes), MaxHeldLanes)])
	l.tell(func() { l.held = &h })
}

// Predecessor is what the former engine of this guardian held, and why it ended; false when there was none, when it held
// nothing, or when it could not be shown that all its processes are gone.
func (l *Link) Predecessor() (Held, Reason, bool) {
	if l == nil {
		return Held{}, "", false
	}
	<-l.greeted
	var h Held
	if l.predeces.Held == nil || json.Unmarshal(l.predeces.Held, &h) != nil || h.Session == "" {
		return Held{}, "", false
	}
	return h, l.predeces.Reason, true
}

// leaveWait bounds the wait for a guardian that does not read. It is long because on a busy host the own writer, too, may
// not get a processor for seconds, and an end that was not told is taken for a crash.
const leaveWait = 10 * time.Second

// Leave tells that this process is about to exit on purpose with this status, and ends the link. Without it an end is
// taken for a crash, whatever its status.
func (l *Link) Leave(status int) {
	if l == nil {
		return
	}
	l.tell(func() { l.leave = &wireLeave{Status: status} })
	t := time.NewTimer(leaveWait)
	defer t.Stop()
	select {
	case <-l.left:
	case <-l.lost:
	case <-t.C:
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.in.Close() // nothing is lost with it
	_ = l.out.Close()
	l.wakeUp()
	l.goroutine.Wait()
}

func (l *Link) tell(what func()) {
	if l == nil {
		return
	}
	l.mu.Lock()
	what()
	l.mu.Unlock()
	l.wakeUp()
}

func (l *Link) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// read waits for the guardian's word, and then for its death.
func (l *Link) read() {
	defer close(l.lost)
	r := bufio.NewReader(l.in)
	greeted := false
	defer func() {
		if !greeted {
			close(l.greeted)
		}
	}()
	for {
		kind, body, err := readMessage(r)
		if err != nil {
			return
		}
		if kind == tellPredecessor && !greeted {
			_ = json.Unmarshal(body, &l.predeces) // what cannot be read is nothing
			greeted = true
			close(l.greeted)
		}
	}
}

// write tells the newest of everything.
func (l *Link) write() {
	for range l.wake {
		b, last := l.pending()
		if len(b) > 0 {
			if _, err := l.out.Write(b); err != nil {
				return // closed, or the guardian is dead, which the reader sees
			}
		}
		if last {
			close(l.left)
			return
		}
		l.mu.Lock()
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return
		}
	}
}

// pending is what has to be told, and whether that is the last word.
func (l *Link) pending() (b []byte, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listens {
		b = append(b, encode(tellListening, struct{}{})...)
		l.listens = false
	}
	if w := l.watch; w != nil {
		if !l.told || w.Session != l.last.Session || !slices.Equal(w.Groups, l.last.Groups) {
			b = append(b, encode(tellWatch, w)...)
			l.last, l.told = *w, true
		}
		l.watch = nil
	}
	if l.held != nil {
		b = append(b, encode(tellHeld, l.held)...)
		l.held = nil
	}
	if l.leave != nil {
		b = append(b, encode(tellLeave, l.leave)...)
		last = true
	}
	return b, last
}
