package streams

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/seriatim/seriatim/internal/problem"
)

// What a lane does with a failed head (OnFailure) and with a dead one (OnDead), and where streams are kept (Storage).
const (
	FailureBlock = "block" // the lane waits for the retry: order is kept

	DeadContinue = "continue" // the lane goes on with the next job

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
	Storage    string
	Replicas   int
}

// DefaultPolicy is the policy of a queue about which nothing else is said.
func DefaultPolicy() Policy {
	return Policy{
		Lease:       15 * time.Second,
		MaxAttempts: 5, MaxLost: 3, MaxCrashes: 3,
		Backoff:   Backoff{Base: time.Second, Max: 10 * time.Minute, Factor: 2, Jitter: 0.2},
		OnFailure: FailureBlock, OnDead: DeadContinue,
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
		return problem.New("check the policy", fmt.Errorf("%w: %s", ErrPolicy, fmt.Sprintf(why, args...)), hint)
	}
	switch {
	case p.Lease < MinLease || p.Lease > MaxLease:
		return bad("lease is %s", fmt.Sprintf("a lease is %s to %s; 15s suits most", MinLease, MaxLease), p.Lease)
	case p.MaxAttempts < 0 || p.MaxLost < 0 || p.MaxCrashes < 0:
		return bad("a limit of attempts is below zero", "0 is no limit")
	case p.MaxBytes < 0 || p.MaxMsgs < 0 || p.MaxJobSize < 0 || p.MaxJobSize > math.MaxInt32:
		return bad("a limit of size cannot be", "0 is no limit, and a job is less than 2 GiB")
	case p.Backoff.Base <= 0 || p.Backoff.Max < p.Backoff.Base:
		return bad("backoff goes from %s to %s", "it must start above zero and not go down, such as 1s to 10m", p.Backoff.Base, p.Backoff.Max)
	case !(p.Backoff.Factor >= 1) || math.IsInf(p.Backoff.Factor, 0):
		return bad("backoff factor is %v", "a factor is 1 or more; 2 doubles the delay each time", p.Backoff.Factor)
	case !(p.Backoff.Jitter >= 0 && p.Backoff.Jitter <= 1):
		return bad("backoff jitter is %v", "jitter is 0 to 1", p.Backoff.Jitter)
	case p.OnFailure != FailureBlock:
		return bad("on_failure is %q", "this version knows block alone: the lane waits for the retry", p.OnFailure)
	case p.OnDead != DeadContinue:
		return bad("on_dead is %q", "this version knows continue alone: the lane goes on with the next job", p.OnDead)
	case p.Storage != StorageFile && p.Storage != StorageMemory:
		return bad("storage is %q", "it is file or memory", p.Storage)
	case p.Replicas < 1 || p.Replicas > 5:
		return bad("replicas is %d", "it is 1, or 3 or 5 in a cluster", p.Replicas)
	}
	return nil
}

// Delay is how long a job waits after its attempt-th failure (1 is the first). rnd gives numbers from 0 to below 1.
func (p Policy) Delay(attempt int, rnd func() float64) time.Duration {
	d := float64(p.Backoff.Base) * math.Pow(p.Backoff.Factor, float64(max(attempt, 1)-1))
	d = min(d, float64(p.Backoff.Max)) // also when the power is infinite
	return time.Duration(d * (1 - p.Backoff.Jitter*rnd()))
}

// policyJSON is a policy in a stream's metadata and in output. Durations are text: people read them there.
type policyJSON struct {
	Lease       duration    `json:"lease"`
	MaxAttempts int         `json:"max_attempts"`
	MaxLost     int         `json:"max_lost"`
	MaxCrashes  int         `json:"max_crashes"`
	Backoff     backoffJSON `json:"backoff"`
	OnFailure   string      `json:"on_failure"`
	OnDead      string      `json:"on_dead"`
	MaxBytes    int64       `json:"max_bytes"`
	MaxJobSize  int64       `json:"max_job_size"`
	MaxMsgs     int64       `json:"max_msgs"`
	Storage     string      `json:"storage"`
	Replicas    int         `json:"replicas"`
}

type backoffJSON struct {
	Base   duration `json:"base"`
	Max    duration `json:"max"`
	Factor float64  `json:"factor"`
	Jitter float64  `json:"jitter"`
}

type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

func (p Policy) wire() policyJSON {
	return policyJSON{
		Lease: duration(p.Lease), MaxAttempts: p.MaxAttempts, MaxLost: p.MaxLost, MaxCrashes: p.MaxCrashes,
		Backoff:   backoffJSON{duration(p.Backoff.Base), duration(p.Backoff.Max), p.Backoff.Factor, p.Backoff.Jitter},
		OnFailure: p.OnFailure, OnDead: p.OnDead, MaxBytes: p.MaxBytes, MaxMsgs: p.MaxMsgs, MaxJobSize: p.MaxJobSize, Storage: p.Storage, Replicas: p.Replicas,
	}
}

// MarshalJSON writes durations as "15s".
func (p Policy) MarshalJSON() ([]byte, error) { return json.Marshal(p.wire()) }

// UnmarshalJSON reads what MarshalJSON wrote. What is not said is as in DefaultPolicy, and unknown keys are ignored:
// versions differ during an upgrade.
func (p *Policy) UnmarshalJSON(text []byte) error {
	w := DefaultPolicy().wire()
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	*p = Policy{
		Lease: time.Duration(w.Lease), MaxAttempts: w.MaxAttempts, MaxLost: w.MaxLost, MaxCrashes: w.MaxCrashes,
		Backoff:   Backoff{time.Duration(w.Backoff.Base), time.Duration(w.Backoff.Max), w.Backoff.Factor, w.Backoff.Jitter},
		OnFailure: w.OnFailure, OnDead: w.OnDead, MaxBytes: w.MaxBytes, MaxMsgs: w.MaxMsgs, MaxJobSize: w.MaxJobSize, Storage: w.Storage, Replicas: w.Replicas,
	}
	return nil
}

// diff lists the fields in which is differs from p.
func (p Policy) diff(is Policy) []Diff {
	a, b := is.wire(), p.wire()
	return differing("policy", []compared{
		{"lease", time.Duration(a.Lease), time.Duration(b.Lease)},
		{"max_attempts", a.MaxAttempts, b.MaxAttempts},
		{"max_lost", a.MaxLost, b.MaxLost},
		{"max_crashes", a.MaxCrashes, b.MaxCrashes},
		{"backoff.base", time.Duration(a.Backoff.Base), time.Duration(b.Backoff.Base)},
		{"backoff.max", time.Duration(a.Backoff.Max), time.Duration(b.Backoff.Max)},
		{"backoff.factor", a.Backoff.Factor, b.Backoff.Factor},
		{"backoff.jitter", a.Backoff.Jitter, b.Backoff.Jitter},
		{"on_failure", a.OnFailure, b.OnFailure},
		{"on_dead", a.OnDead, b.OnDead},
		{"max_bytes", a.MaxBytes, b.MaxBytes},
		{"max_job_size", a.MaxJobSize, b.MaxJobSize},
		{"max_msgs", a.MaxMsgs, b.MaxMsgs},
		{"storage", a.Storage, b.Storage},
		{"replicas", a.Replicas, b.Replicas},
	})
}
