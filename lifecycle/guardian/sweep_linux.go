package guardian

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// instance names a guardian for good: its pid and start time, and the pid namespace in which the pid means it. What its
// engine starts carries that in the environment and as a badge, so whoever finds such a process knows whether its guardian
// lives.
type instance struct {
	namespace uint64
	pid       int
	start     uint64
}

var errInstance = errors.New("no instance")

func ownInstance() (instance, error) {
	s, err := proc.Read(os.Getpid())
	if err != nil {
		return instance{}, err
	}
	ns, err := proc.Namespace(s.PID)
	return instance{ns, s.PID, s.Start}, err
}

func (i instance) String() string {
	return strconv.FormatUint(i.namespace, 10) + "." + strconv.Itoa(i.pid) + "." + strconv.FormatUint(i.start, 10)
}

// parseInstance reads an instance, or a mark, which has more behind it.
func parseInstance(text string) (i instance, err error) {
	parts := strings.Split(text, ".")
	if len(parts) < 3 {
		return i, errInstance
	}
	var errs [3]error
	i.namespace, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	i.pid, errs[1] = strconv.Atoi(parts[1])
	i.start, errs[2] = strconv.ParseUint(parts[2], 10, 64)
	return i, errors.Join(errs[:]...)
}

// gone reports whether this is an instance of the own pid namespace whose guardian does not live any more, whether or not
// its parent has noticed: there are containers whose first process never reaps. In another namespace its pid would mean
// somebody else.
func (i instance) gone(own instance) bool {
	if i.namespace != own.namespace || i == own {
		return false
	}
	s, err := proc.Read(i.pid)
	return err != nil || s.Dead() || s.Start != i.start
}

// sweepRounds bounds a sweep: what spawns faster than it is killed here is left to its own engine.
const sweepRounds = 50

// sweep kills what carries the mark of an instance that is gone: what is left when guardian and engine were killed in one
// instant. Where the engine lives it is ending its jobs itself, and handing them back: such instances are left alone and
// returned, to be given to a later sweep as due. Then it has had its time to leave; a stopped one never would. The sweep
// spares this process and its ancestors, which may have been started by a job.
func sweep(own instance, due map[instance]bool) (killed int, waiting map[instance]bool) {
	s := sweeper{own: own, due: due, family: ancestors(own.pid)}
	seen := map[int]bool{}
	for range sweepRounds {
		suspects := s.suspects()
		// Only now: an instance whose guardian dies while this looks around must not be taken for one without an engine.
		s.findEngines()
		found := false
		for _, pid := range suspects {
			if s.kill(pid) {
				found, seen[pid] = true, true
			}
		}
		if !found {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	return len(seen), s.waiting
}

// sweeper is one sweep.
type sweeper struct {
	own     instance
	due     map[instance]bool
	family  map[int]bool
	waiting map[instance]bool // gone, but their engines live, and they are not due
	badges  map[uint64]bool   // theirs
}

// suspects are what is left over, if no engine lives that they are left to.
func (s *sweeper) suspects() (list []int) {
	s.waiting, s.badges = nil, nil
	pids, err := proc.All()
	if err != nil {
		return nil
	}
	for _, pid := range pids {
		if !s.family[pid] && s.isLeft(pid) {
			list = append(list, pid)
		}
	}
	return list
}

// findEngines notes the instances that are left to their engines.
func (s *sweeper) findEngines() {
	s.waiting, s.badges = map[instance]bool{}, map[uint64]bool{}
	pids, err := proc.All()
	if err != nil {
		return
	}
	for _, pid := range pids {
		if !isEngine(pid) {
			continue
		}
		text, _, err := proc.Env(pid, InstanceVariable)
		if i, bad := parseInstance(text); err == nil && bad == nil && i.gone(s.own) && !s.due[i] {
			s.waiting[i], s.badges[i.badge()] = true, true
		}
	}
}

// isLeft reports whether a process is left over, by the nearest instance that it runs under.
func (s *sweeper) isLeft(pid int) bool {
	if st, err := proc.Read(pid); err != nil || st.Dead() {
		return false // a badge is worn even by who only waits to be reaped
	}
	names := []string{lifecycle.MarkVariable}
	if isEngine(pid) {
		names = []string{InstanceVariable, lifecycle.MarkVariable}
	}
	for _, name := range names {
		text, _, err := proc.Env(pid, name)
		if i, bad := parseInstance(text); err == nil && bad == nil {
			return i.gone(s.own) && !s.waiting[i]
		}
	}
	badge, ok := proc.Badge(pid)
	ns, err := proc.Namespace(pid)
	return ok && err == nil && ns == s.own.namespace && !s.badges[badge] && badgeGone(badge, s.own)
}

// kill looks again with the process held by a descriptor, so that its number cannot become another's in between.
func (s *sweeper) kill(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false // it has ended; or a kernel before 5.3, which sweeps nothing
	}
	defer unix.Close(fd) //nolint:errcheck // it was only a handle
	return s.isLeft(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

func isEngine(pid int) bool {
	args := proc.Args(pid)
	return len(args) > 0 && args[0] == EngineName
}

// badge is an instance in 62 bits, which no process can lose: what is left of one with an emptied environment is known by
// it. A pid has at most 22 bits; of the start time and the namespace the low ones do.
func (i instance) badge() uint64 {
	return uint64(i.pid)&(1<<22-1)<<40 | i.start&(1<<28-1)<<12 | i.namespace&(1<<12-1)
}

// badgeGone reports whether a badge is of an instance of the own pid namespace whose guardian does not live any more.
func badgeGone(badge uint64, own instance) bool {
	if badge == own.badge() || badge&(1<<12-1) != own.namespace&(1<<12-1) {
		return false
	}
	s, err := proc.Read(int(badge >> 40))
	return err != nil || s.Dead() || s.Start&(1<<28-1) != badge>>12&(1<<28-1)
}

// ancestors are a process and those above it.
func ancestors(pid int) map[int]bool {
	line := map[int]bool{}
	for pid > 0 && !line[pid] {
		line[pid] = true
		s, err := proc.Read(pid)
		if err != nil {
			break
		}
		pid = s.PPID
	}
	return line
}
