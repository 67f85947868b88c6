package lane

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Standing is what a claim record says about its job.
type Standing string

// The standings of a claim.
const (
	// Running: the holder runs the job, or is about to.
	Running Standing = "running"
	// GivenBack: nobody runs it; its group was empty when this was written.
	GivenBack Standing = "given_back"
	// Waiting: it failed and is due again after NotBefore.
	Waiting Standing = "waiting"
	// Halted: it is dead, and its lane waits for an operator.
	Halted Standing = "halted"
	// Done: its delete was confirmed; written for stolen and for held claims only.
	Done Standing = "done"
	// Held: an operator's command has the lane; nothing runs under it.
	Held Standing = "held"
)

// Counts are the starts that ended badly, by cause; Interrupted ones never kill a job.
type Counts struct {
	Attempts    int `json:"attempts,omitempty"`
	Crashes     int `json:"crashes,omitempty"`
	Memory      int `json:"memory,omitempty"`
	Lost        int `json:"lost,omitempty"`
	Interrupted int `json:"interrupted,omitempty"`
}

// Zero says that nothing was counted.
func (c Counts) Zero() bool { return c == Counts{} }

// Negative says that no count can be so.
func (c Counts) Negative() bool {
	return min(c.Attempts, c.Crashes, c.Memory, c.Lost, c.Interrupted) < 0
}

// Attempt is the number of the next start: one more than the starts that were counted against the job.
func (c Counts) Attempt() int { return 1 + c.starts() }

// starts are those that were counted against the job.
func (c Counts) starts() int { return c.Attempts + c.Crashes + c.Memory + c.Lost }

// Plus adds what was counted in an earlier place of the queue.
func (c Counts) Plus(d Counts) Counts {
	return Counts{
		Attempts: c.Attempts + d.Attempts, Crashes: c.Crashes + d.Crashes, Memory: c.Memory + d.Memory,
		Lost: c.Lost + d.Lost, Interrupted: c.Interrupted + d.Interrupted,
	}
}

// Record is a lane's claim as it stands on claims.<queue>.<type>.<id>. Seq and At are not in the body: they are the
// message's own.
type Record struct {
	V       int      `json:"v"`
	State   Standing `json:"state"`
	Session string   `json:"session"`
	// Worker is the id of the worker whose session that is, for people.
	Worker string `json:"worker,omitempty"`
	// Job is the sequence in JOBS of the job that the record is about.
	Job uint64 `json:"job"`
	// Created is the creation time of JOBS (Unix nanoseconds): sequences of a stream made anew mean other jobs.
	Created int64 `json:"created"`
	Attempt int   `json:"attempt"`
	Counts
	// Stolen marks a claim whose job a former holder may still delete by a late message.
	Stolen bool `json:"stolen,omitempty"`
	// Dying says that the job was found dead: whoever has the lane moves it to the dead letters, under the same attempt and
	// so under the same move id, and does not start it again.
	Dying bool `json:"dying,omitempty"`
	// Passing says the same of a failed job that lets the others pass: it is moved to the schedule, due at NotBefore.
	Passing bool `json:"passing,omitempty"`
	// Absolved says that an operator wants the job tried as if it had never been started, wherever it was before.
	Absolved bool `json:"absolved,omitempty"`
	// Since is when the run was claimed (Unix milliseconds of the server's clock), for people.
	Since int64 `json:"since,omitempty"`
	// Fence is the fence of the run when the record was rewritten under it; 0 is the record's own sequence.
	Fence uint64 `json:"fence,omitempty"`
	// Tries are the last starts that ended badly, the oldest first.
	Tries []Try `json:"tries,omitempty"`
	// NotBefore is when a waiting job is due (Unix milliseconds of the server's clock).
	NotBefore int64 `json:"not_before,omitempty"`
	// Error is the last error of the job, shortened.
	Error string `json:"error,omitempty"`
	// Cause names what the last count was for.
	Cause string `json:"cause,omitempty"`

	// Seq is the record's sequence: what the next write has to expect.
	Seq uint64 `json:"-"`
}

// recordVersion grows when an old holder would misread a record.
const recordVersion = 1

// ErrNewerRecord is returned for a record that a newer build wrote in a form that this one would misread.
var ErrNewerRecord = errors.New("the claim was written by a newer Seriatim: upgrade this workerd")

// Encode is the record's body.
func (r Record) Encode() []byte {
	r.V = recordVersion
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // no field of a Record can fail to encode
	}
	return b
}

// DecodeRecord reads a claim's body; seq is the message's sequence. Unknown keys are ignored, a newer version is
// ErrNewerRecord.
func DecodeRecord(seq uint64, body []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return Record{}, fmt.Errorf("claim %d is not a record: %w", seq, err)
	}
	if r.V > recordVersion {
		return Record{}, fmt.Errorf("claim %d, version %d: %w", seq, r.V, ErrNewerRecord)
	}
	r.Seq = seq
	return r, nil
}

// moving says that the job is on its way to another stream, and is not started again.
func (r Record) moving() bool { return r.Dying || r.Passing }

// RunFence is the fence of the run that the record is about.
func (r Record) RunFence() uint64 {
	if r.Fence != 0 {
		return r.Fence
	}
	return r.Seq
}

// Due is how long a waiting record still has to wait at server time now; zero or less is due.
func (r Record) Due(now time.Time) time.Duration {
	return time.UnixMilli(r.NotBefore).Sub(now)
}
