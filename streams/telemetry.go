package streams

import (
	"slices"
	"time"
)

// MaxRecordJobs bounds Telemetry.Jobs, and MaxRecordChildren the children of a record, so that a record of a very
// large worker can always be stored. Busy tells how many jobs there are.
const (
	MaxRecordJobs     = 100
	MaxRecordChildren = 500
)

// Telemetry is what a worker tells of itself for people: nothing is decided by it. It is as old as the record's beat.
type Telemetry struct {
	// Jobs are those that run, the oldest first, at most MaxRecordJobs.
	Jobs []JobRecord `json:"jobs,omitempty"`
	// Pools tells of each pool's children, restarts among them.
	Pools []PoolRecord `json:"pools,omitempty"`
	// RTTMS is the last round trip to the NATS server in milliseconds; 0 is not known.
	RTTMS float64 `json:"rtt_ms,omitempty"`
}

// JobRecord is a job that runs.
type JobRecord struct {
	Queue   string          `json:"queue"`
	Entity  string          `json:"entity"`
	Kind    string          `json:"kind"`
	ID      string          `json:"id"`
	Seq     uint64          `json:"seq"`
	Fence   uint64          `json:"fence"`
	Attempt int             `json:"attempt"`
	Since   time.Time       `json:"since"`
	At      *ProgressRecord `json:"progress,omitempty"`
}

// ProgressRecord is how far a job says it is: At of Of, where Of is 0 when it does not know.
type ProgressRecord struct {
	At   float64 `json:"at"`
	Of   float64 `json:"of,omitempty"`
	Note string  `json:"note,omitempty"`
}

// PoolRecord is a pool of a worker.
type PoolRecord struct {
	Name string `json:"name"`
	Mode string `json:"mode"`
	// Kinds are those of the jobs that it runs; "*" is all. None is not known.
	Kinds []string `json:"kinds,omitempty"`
	// Slots is how many jobs it can run now.
	Slots int `json:"slots"`
	// Restarts is how often a child ended and was followed by another, since the worker started; Why counts the reasons.
	Restarts int            `json:"restarts"`
	Why      map[string]int `json:"why,omitempty"`
	// LastExit is the last unexpected end of a child.
	LastExit *ExitRecord `json:"last_exit,omitempty"`
}

// Serves says whether the pool runs jobs of this kind, and whether that is known.
func (p PoolRecord) Serves(kind string) (serves, known bool) {
	return slices.Contains(p.Kinds, kind) || slices.Contains(p.Kinds, AnyKind), len(p.Kinds) > 0
}

// AnyKind stands for all kinds in a pool's list.
const AnyKind = "*"

// ExitRecord is the end of a child.
type ExitRecord struct {
	PID int       `json:"pid"`
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// ChildTelemetry is what is told of a child for people.
type ChildTelemetry struct {
	// PSSBytes is its share of the memory that it has in common with others, read now and then; 0 is not known.
	PSSBytes int64 `json:"pss_bytes,omitempty"`
	// StartedAt is when it was first seen.
	StartedAt time.Time `json:"started_at,omitzero"`
}
