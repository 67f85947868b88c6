package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// Orphans is what this process does about processes that its jobs leave behind: those that left their group, changed
// their session or gave up their parent. The kernel makes them our children when their parents die.
//
// A child's orphans may live as long as the child. When it ends they are killed, before its Run returns and its group
// counts as gone: they are known by the mark in their environment. An orphan without a mark, with one that may not be
// read, or with the mark of a child that is gone is nobody's, and is killed when any child ends. Dead ones are reaped.
// What may not be killed (a program with a set-uid bit, for an ordinary user) is left alone.
type Orphans struct {
	stop chan struct{}
	done sync.WaitGroup
}

// ErrAdopted is returned by a second Adopt.
var ErrAdopted = errors.New("this process adopts orphans already")

// Adopt begins: it makes this process the one that inherits orphans, and marks the children that are started from now on
// as those of an instance, a text without spaces that no other workerd of this host has. It has to be called before
// anything is started. Processes that are started otherwise than by pools have to be started by Spare. An error says
// that the system cannot do it: then process groups are all that is contained.
func Adopt(instance string) (*Orphans, error) {
	family.mu.Lock()
	defer family.mu.Unlock()
	if family.instance != "" {
		return nil, problem.New("adopt orphans", ErrAdopted, "")
	}
	if err := proc.AdoptOrphans(); err != nil {
		return nil, problem.New("adopt orphans", err, "what a job starts outside of its process group is not contained here")
	}
	family.instance = instance
	o := &Orphans{stop: make(chan struct{})}
	o.reapDead()
	return o, nil
}

// Stop ends the reaping and waits for its goroutine. Orphans that live go on. Any goroutine, once.
func (o *Orphans) Stop() {
	close(o.stop)
	o.done.Wait()
	family.mu.Lock()
	family.instance = ""
	family.mu.Unlock()
}

// Kill kills all orphans, whosever they are, until none is left; false when ctx ended before.
func (o *Orphans) Kill(ctx context.Context) bool {
	for pause := 100 * time.Microsecond; !family.clear(""); pause = min(2*pause, 20*time.Millisecond) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
	return true
}
