// Package memory watches how much memory process trees use and decides what follows. It signals nobody: whoever owns
// the processes reads (Reader, Container), asks (Limits.Next) and acts.
//
// The decision is a pure function over one child's State (machine.go). Reading is cheap as long as nothing is wrong: one
// pass over the process table for a whole pool says who belongs to which child (Reader.Scan), resident sizes come
// through descriptors that stay open, and the costly exact size, in which a page that several processes share counts
// once, is read only when the sum of the resident ones passes a limit (Reader.Size).
//
// Invariants:
//   - A child that was never seen above a limit is never acted upon. What could not be read counts as nothing seen.
//   - In daemon mode a child that is seen below its limits before the balloon time is over is forgotten.
//   - The actions of one child's life come in the order Quiet, Term, Kill, each at most once.
//   - Two children of one slot are never acted upon within Limits.MinInterval, unless the container is nearly full.
//
// Failure: a process table that cannot be read is an error of Scan; the caller says so once and lets its children be.
// On systems without /proc that is always so.
package memory

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Mode is when a child is looked at.
type Mode string

// The modes; the zero value is Daemon.
const (
	// Daemon looks at every check. A child above soft for longer than the balloon time, or above hard, gets no more jobs.
	Daemon Mode = "daemon"
	// Legacy looks after each job only. A child above soft goes on taking jobs during the grace time, whatever it uses
	// meanwhile, and gets none after it.
	Legacy Mode = "legacy"
)

// Limits are what one child may use, and how it is ended when it uses more. The zero value limits nothing.
type Limits struct {
	Mode Mode
	// Soft and Hard are bytes of the child's whole tree; 0 is no limit.
	Soft, Hard int64
	// Balloon is how long a child may be above Soft before anything is done. Daemon mode.
	Balloon time.Duration
	// Grace is how long the jobs of a child above Soft may run on: taking no more in daemon mode, taking more in legacy
	// mode (there they get another ShutdownWait afterwards).
	Grace time.Duration
	// HardGrace is how long a child above Hard may live on in all; TERM comes KillAfter before its end, but never before
	// half of it. 0 is KILL at once.
	HardGrace time.Duration
	// ShutdownWait is the time from TERM to KILL after Grace. In legacy mode it lies before TERM, and KillAfter after it.
	ShutdownWait time.Duration
	// KillAfter is the time from TERM to KILL where none of the above says another.
	KillAfter time.Duration
	// MinInterval is the least time between two children of one slot that are ended for their memory; 0 is none.
	MinInterval time.Duration
}

// On reports whether there is anything to watch.
func (l Limits) On() bool { return l.Soft > 0 || l.Hard > 0 }

// Lowest is the lower of the limits that are set, 0 without any.
func (l Limits) Lowest() int64 {
	if l.Soft > 0 {
		return l.Soft
	}
	return l.Hard
}

// Validate says which values cannot be used, all of them in one error.
func (l Limits) Validate() error {
	var errs []error
	if l.Mode != "" && l.Mode != Daemon && l.Mode != Legacy {
		errs = append(errs, fmt.Errorf("memory.mode is %q, not daemon or legacy", l.Mode))
	}
	if l.Soft < 0 || l.Hard < 0 {
		errs = append(errs, errors.New("a memory limit is below 0"))
	}
	if l.Soft > 0 && l.Hard > 0 && l.Hard < l.Soft {
		errs = append(errs, fmt.Errorf("memory.hard, %s, is below memory.soft, %s", Bytes(l.Hard), Bytes(l.Soft)))
	}
	if min(l.Balloon, l.Grace, l.HardGrace, l.ShutdownWait, l.KillAfter, l.MinInterval) < 0 {
		errs = append(errs, errors.New("a time of memory is below 0"))
	}
	return errors.Join(errs...)
}

// Spread lengthens the time before a soft restart by share (0 to 1): children that grow alike are given different
// shares, so that they do not go together.
func (l Limits) Spread(share float64) Limits {
	l.Balloon = longer(l.Balloon, share)
	if l.Mode == Legacy {
		l.Grace = longer(l.Grace, share)
	}
	return l
}

// longer is d and that share of it, or the longest duration that there is.
func longer(d time.Duration, share float64) time.Duration {
	more := share * float64(d)
	if more >= float64(math.MaxInt64-d) {
		return math.MaxInt64
	}
	return d + time.Duration(more)
}

// Limit is one of the two limits.
type Limit int

// The limits; the zero value is none.
const (
	Soft Limit = iota + 1
	Hard
)

// String is the limit's name.
func (l Limit) String() string {
	switch l {
	case Soft:
		return "soft"
	case Hard:
		return "hard"
	}
	return "no"
}

// Bytes is a size for people: 212.4 MiB.
type Bytes int64

// String is the size in MiB, or in GiB from 10 GiB on.
func (b Bytes) String() string {
	if b >= 10<<30 {
		return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20))
}
