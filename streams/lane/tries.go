package lane

import (
	"strings"
	"time"
)

// Try is one start of a job that ended badly, as it stands in the lane's claim and later in the dead letter.
type Try struct {
	// Worker is the id of the worker that ran it, or its session where that is all that is known.
	Worker string `json:"worker"`
	Fence  uint64 `json:"fence"`
	// Start and End are Unix milliseconds; 0 is not known.
	Start int64  `json:"start,omitempty"`
	End   int64  `json:"end,omitempty"`
	Cause string `json:"cause"`
	Error string `json:"error,omitempty"`
	// Log is the end of what the job printed.
	Log string `json:"log,omitempty"`
}

// What a claim keeps of a job's failures: it is rewritten at each start and must stay small.
const (
	maxTries    = 10
	maxTryError = 300
	maxTryLog   = 400
)

// tried adds a try; the oldest go first.
func (r *Record) tried(t Try) {
	t.Error, t.Log = head(t.Error, maxTryError), tail(t.Log, maxTryLog)
	from := max(0, len(r.Tries)-maxTries+1)
	r.Tries = append(append([]Try(nil), r.Tries[from:]...), t) // a copy: records are values, and share no memory
}

// holder is who wrote the record, for people.
func (r Record) holder() string {
	if r.Worker != "" {
		return r.Worker
	}
	return r.Session
}

// ran is the try of the run that just ended. The view's clock was read before the end was heard of: a short run may have
// started after that.
func (m *machine) ran(o Outcome) Try {
	end := m.v.ServerNow
	if ended := o.StartedAt.Add(o.Took); ended.After(end) {
		end = ended
	}
	return Try{
		Worker: m.claim.holder(), Fence: m.fence, Start: millis(o.StartedAt), End: millis(end),
		Cause: o.Cause.String(), Error: o.Error, Log: o.Log,
	}
}

// causeLost is in records and dead letters what no outcome can tell.
const causeLost = "lost"

// lose counts a job whose worker was lost while it ran, as the record from tells. At which count it is dead is decided
// by who has read the job, see haveClaim.
func (m *machine) lose(r *Record, from Record) {
	r.Lost++
	r.Cause = causeLost
	r.Error = "the worker that ran it was lost (" + from.holder() + ")"
	r.tried(Try{
		Worker: from.holder(), Fence: from.RunFence(), Start: from.Since, End: millis(m.v.ServerNow), Cause: r.Cause,
	})
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// head is the beginning of s, tail its end, of at most n bytes each.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[len(s)-n:], "")
}
