package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seriatim/seriatim/internal/problem"
)

// AllKinds is the kind that stands for every kind.
const AllKinds = "*"

// Member is a pool in a Set, with the kinds of jobs that it takes.
type Member struct {
	Kinds []string
	Pool  Pool
}

// Set is several pools as one. A job goes to the first pool that lists its kind, or AllKinds. It is itself a Pool; its
// methods may be called from any goroutine.
type Set struct {
	slots slotWatch

	mu      sync.RWMutex
	members []Member
}

// NewSet joins pools, in order of preference. The pools must not be started yet, and their OnSlots belongs to the set. A
// pool that no job could ever reach is an error: its kinds all stand in pools before it.
func NewSet(members ...Member) (*Set, error) {
	s := &Set{members: members}
	if err := reachable(members); err != nil {
		return nil, err
	}
	s.listen(members)
	return s, nil
}

// reachable says which pool no job could ever reach.
func reachable(members []Member) error {
	taken := map[string]bool{}
	for i, m := range members {
		reached := false
		for _, kind := range m.Kinds {
			reached = reached || !(taken[kind] || taken[AllKinds])
		}
		if !reached {
			return problem.New(fmt.Sprintf("pool %d of %d", i+1, len(members)),
				errors.New("no job can reach it: it lists no kind that is not taken by a pool before it"),
				"the first pool that lists a kind gets its jobs; put the pool with \"*\" last")
		}
		for _, kind := range m.Kinds {
			taken[kind] = true
		}
	}
	return nil
}

// listen adds up the slots of pools. No lock is held.
func (s *Set) listen(members []Member) {
	for _, m := range members {
		m.Pool.OnSlots(func(int) { s.slots.tell(s.Slots) })
	}
}

// Swap changes which pools there are, while jobs run: those that are new must be started by the caller before, and those
// that are no longer listed stopped by the caller afterwards; they finish what they have. An error changes nothing.
func (s *Set) Swap(members ...Member) error {
	if err := reachable(members); err != nil {
		return err
	}
	s.listen(members)
	s.mu.Lock()
	s.members = members
	s.mu.Unlock()
	s.slots.tell(s.Slots)
	return nil
}

// list is the pools as they are now.
func (s *Set) list() []Member {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.members
}

// PoolFor is the pool for jobs of a kind; false when no pool takes them.
func (s *Set) PoolFor(kind string) (Pool, bool) {
	for _, m := range s.list() {
		for _, k := range m.Kinds {
			if k == kind || k == AllKinds {
				return m.Pool, true
			}
		}
	}
	return nil, false
}

// Run runs the job in its kind's pool. Without one it is NotStarted; ask PoolFor before, to tell that case.
func (s *Set) Run(ctx context.Context, j Job) Result {
	pool, ok := s.PoolFor(j.Kind)
	for ok {
		r := pool.Run(ctx, j)
		next, still := s.PoolFor(j.Kind)
		if r.Cause != NotStarted || next == pool || !still {
			return r
		}
		pool = next // the pool was swapped for this one while the job was on its way to it
	}
	return notStarted(fmt.Sprintf("no pool takes jobs of kind %q", j.Kind))
}

// Slots is the sum over all pools.
func (s *Set) Slots() int {
	n := 0
	for _, m := range s.list() {
		n += m.Pool.Slots()
	}
	return n
}

// OnSlots is called with the sum.
func (s *Set) OnSlots(f func(int)) { s.slots.set(f) }

// Start starts all pools. When one cannot be started, those before it are stopped again.
func (s *Set) Start(ctx context.Context) error {
	members := s.list()
	for i, m := range members {
		if err := m.Pool.Start(ctx); err != nil {
			stopAll(ctx, members[:i])
			return err
		}
	}
	return nil
}

// Stop stops all pools at the same time.
func (s *Set) Stop(ctx context.Context) { stopAll(ctx, s.list()) }

func stopAll(ctx context.Context, members []Member) {
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() { m.Pool.Stop(ctx) })
	}
	all.Wait()
}

// Children lists the processes of all pools, in their order.
func (s *Set) Children() []ChildInfo {
	var list []ChildInfo
	for _, m := range s.list() {
		list = append(list, m.Pool.Children()...)
	}
	return list
}
