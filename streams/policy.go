package streams

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// What a lane does with a failed head (OnFailure) and with a dead one (OnDead), of which finished jobs a record is kept
// (History), and where streams are kept (Storage).
const (
	FailureBlock = subjects.FailureBlock
	FailurePass  = subjects.FailurePass

	DeadContinue = subjects.DeadContinue
	DeadHalt     = subjects.DeadHalt

	HistoryFailures = "failures" // of jobs that were not done, and of jobs that were done after a failed attempt
	HistoryAll      = "all"
	HistoryOff      = "off"

	StorageFile   = "file"
	StorageMemory = "memory"
)

// Backoff is how long a failed job waits: Base, times Factor with each further attempt, never more than Max.
type Backoff struct {
	Base, Max time.Duration
	Factor    float64
	// Jitter is the random part of each delay, 0 to 1: 0.2 takes off up to a fifth, so that jobs that failed together
	// do not come back together.
	Jitter float64
}

// Policy is what a queue promises. It stands in the queue itself, so all workers and commands read the same one. Of the
// limits, 0 is no limit.
type Policy struct {
	// Lease is how long a worker may be silent before its lanes are taken from it. A longer one survives longer
	// pauses and cuts; a shorter one brings the jobs of a dead host back sooner.
	Lease time.Duration
	// MaxAttempts, MaxLost and MaxCrashes are how often a job may fail, lose its worker and crash before it is dead.
	MaxAttempts, MaxLost, MaxCrashes int
	Backoff                          Backoff
	OnFailure, OnDead                string
	// MaxBytes and MaxMsgs are where the queue refuses more jobs.
	MaxBytes, MaxMsgs int64
	// MaxJobSize is the most bytes of a job, body and headers. What is larger is refused to its publisher: a job must fit
	// the server once more, with the headers that a move to the dead letters adds. 0 takes what the server allows when
	// the queue is made.
	MaxJobSize int64
	// History is of which finished jobs a record is kept, and HistoryMaxAge and HistoryMaxMsgs are for how long and how
	// many: beyond, the oldest go.
	History        string
	HistoryMaxAge  time.Duration
	HistoryMaxMsgs int64
	// DeadMaxAge and DeadMaxMsgs are for how long and how many dead letters are kept: beyond, the oldest go for good.
	DeadMaxAge  time.Duration
	DeadMaxMsgs int64
	// Limits are how many jobs run at once across all workers: of the queue ("queue"), of a kind ("kind:archive"), of an
	// entity type ("type:build"). What is not named has no limit.
	Limits   map[string]int
	Storage  string
	Replicas int
}

// DefaultPolicy is the policy of a queue about which nothing else is said.
func DefaultPolicy() Policy {
	return Policy{
		Lease:       15 * time.Second,
		MaxAttempts: 5, MaxLost: 3, MaxCrashes: 3,
		Backoff:   Backoff{Base: time.Second, Max: 10 * time.Minute, Factor: 2, Jitter: 0.2},
		OnFailure: FailureBlock, OnDead: DeadContinue,
		History: HistoryFailures, HistoryMaxAge: 7 * 24 * time.Hour, HistoryMaxMsgs: 1_000_000,
		Storage: StorageFile, Replicas: 1,
	}
}

// The bounds of a lease: below, a worker would believe in itself for less than a beat; above, a dead host holds its
// lanes for longer than anybody wants to wait.
const (
	MinLease = 5 * time.Second
	MaxLease = 10 * time.Minute
)

// Validate returns ErrPolicy and what is wrong, or nil.
func (p Policy) Validate() error {
	bad := func(why, hint string, args ...any) error {
		return problem.New("check the policy", fmt.Errorf("%w: %w", ErrPolicy, fmt.Errorf(why, args...)), hint)
	}
	switch {
	case p.Lease < MinLease || p.Lease > MaxLease:
		return bad("lease is %s", fmt.Sprintf("a lease is %s to %s; 15s suits most", MinLease, MaxLease), p.Lease)
	case p.MaxAttempts < 0 || p.MaxLost < 0 || p.MaxCrashes < 0:
		return bad("a limit of attempts is %d", "0 is no limit", min(p.MaxAttempts, p.MaxLost, p.MaxCrashes))
	case p.MaxBytes < 0 || p.MaxMsgs < 0 || p.MaxJobSize < 0 || p.MaxJobSize > math.MaxInt32:
		return bad("a limit of size cannot be: max_bytes %d, max_msgs %d, max_job_size %d", "0 is no limit, and a job is less than 2 GiB", p.MaxBytes, p.MaxMsgs, p.MaxJobSize)
	case p.Backoff.Base <= 0 || p.Backoff.Max < p.Backoff.Base:
		return bad("backoff goes from %s to %s", "it must start above zero and not go down, such as 1s to 10m", p.Backoff.Base, p.Backoff.Max)
	case !(p.Backoff.Factor >= 1) || math.IsInf(p.Backoff.Factor, 0):
		return bad("backoff factor is %v", "a factor is 1 or more; 2 doubles the delay each time", p.Backoff.Factor)
	case !(p.Backoff.Jitter >= 0 && p.Backoff.Jitter <= 1):
		return bad("backoff jitter is %v", "jitter is 0 to 1", p.Backoff.Jitter)
	case p.OnFailure != FailureBlock && p.OnFailure != FailurePass:
		return bad("on_failure is %q", "it is block (the lane waits for the retry) or pass (the job goes to the end of its lane)", p.OnFailure)
	case p.OnDead != DeadContinue && p.OnDead != DeadHalt:
		return bad("on_dead is %q", "it is continue (the lane goes on with the next job) or halt (it waits for an operator)", p.OnDead)
	case p.History != HistoryFailures && p.History != HistoryAll && p.History != HistoryOff:
		return bad("history is %q", "it is failures, all or off", p.History)
	case p.HistoryMaxMsgs < 0 || p.DeadMaxMsgs < 0:
		return bad("a limit of records is %d", "0 is no limit", min(p.HistoryMaxMsgs, p.DeadMaxMsgs))
	case !ageLimit(p.HistoryMaxAge) || !ageLimit(p.DeadMaxAge):
		return bad("a limit of age is %s", "0 is for ever, and the shortest is 1s", shorter(p.HistoryMaxAge, p.DeadMaxAge))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Limits)) {
		if err := checkLimit(name); err != nil {
			return bad("limit %q: %w", "limits are queue, kind:<kind> and type:<entity type>, such as kind:archive", name, err)
		}
		if n := p.Limits[name]; n < 1 || n > MaxLimit {
			return bad("limit %q is %d", fmt.Sprintf("a limit is 1 to %d jobs at once; leave out what has none", MaxLimit), name, n)
		}
	}
	switch {
	case p.Storage != StorageFile && p.Storage != StorageMemory:
		return bad("storage is %q", "it is file or memory", p.Storage)
	case p.Replicas < 1 || p.Replicas > 5:
		return bad("replicas is %d", "it is 1, or 3 or 5 in a cluster", p.Replicas)
	}
	return nil
}

// MaxLimit is the largest limit of jobs at once: more is no limit to anybody.
const MaxLimit = 1_000_000

// What a limit can be of; the latter two with a name behind.
const (
	LimitQueue = "queue"
	LimitKind  = "kind:"
	LimitType  = "type:"
)

func checkLimit(name string) error {
	if name == LimitQueue {
		return nil
	}
	if kind, ok := strings.CutPrefix(name, LimitKind); ok {
		if !subjects.IsKind(kind) {
			return fmt.Errorf("%q is no kind", kind)
		}
		return nil
	}
	if typ, ok := strings.CutPrefix(name, LimitType); ok {
		if !subjects.IsType(typ) {
			return fmt.Errorf("%q is no entity type", typ)
		}
		return nil
	}
	return errors.New("it is of nothing that there is")
}

// ageLimit: the server takes no limit of age below a tenth of a second; a second is short enough for anybody.
func ageLimit(d time.Duration) bool { return d == 0 || d >= time.Second }

func shorter(a, b time.Duration) time.Duration {
	if ageLimit(a) {
		return b
	}
	return a
}

// Equal says that two policies are the same.
func (p Policy) Equal(other Policy) bool { return len(p.diff(other)) == 0 }

// Delay is how long a job waits after its attempt-th failure (1 is the first), lane.LongestWait at the most. rnd gives numbers from 0 to below 1.
func (p Policy) Delay(attempt int, rnd func() float64) time.Duration {
	d := float64(p.Backoff.Base) * math.Pow(p.Backoff.Factor, float64(max(attempt, 1)-1))
	d = min(d, float64(p.Backoff.Max), float64(lane.LongestWait)) // also when the power is infinite
	return time.Duration(d * (1 - p.Backoff.Jitter*rnd()))
}
