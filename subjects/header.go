package subjects

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seriatim/seriatim/internal/problem"
)

// The headers that a publisher may set, all optional.
const (
	HeaderKind        = "Job-Kind"
	HeaderTimeout     = "Job-Timeout"
	HeaderMaxAttempts = "Job-Max-Attempts"
	HeaderReplyTo     = "Job-Reply-To"
	HeaderOnFailure   = "Job-On-Failure"
	HeaderOnDead      = "Job-On-Dead"
	HeaderJobID       = "Job-Id"
	HeaderMsgID       = "Nats-Msg-Id"
	HeaderTraceparent = "traceparent"
)

// DefaultKind is the kind of a job that names none.
const DefaultKind = "default"

// What a lane does with a failed head, and with a dead one: the values of Job-On-Failure and Job-On-Dead, and of a
// queue's policy.
const (
	FailureBlock = "block" // the lane waits for the retry: order is kept
	FailurePass  = "pass"  // the job goes to the end of its lane when its retry is due

	DeadContinue = "continue" // the lane goes on with the next job
	DeadHalt     = "halt"     // the lane waits for an operator
)

const maxKindBytes, maxJobIDBytes = 128, 1024

// Header is the shape of a message's headers, as in nats.go and net/http. Names are case-sensitive, as in NATS.
type Header = map[string][]string

// JobHeader is what a job's headers say.
type JobHeader struct {
	// Kind is never empty; DefaultKind when the publisher named none.
	Kind string
	// ID is never empty; "<queue>-<seq>" when the publisher gave none.
	ID string
	// Timeout is 0 when the publisher set none.
	Timeout time.Duration
	// MaxAttempts is 0 when the queue's policy decides.
	MaxAttempts int
	// OnFailure is FailureBlock, FailurePass, or "" when the queue's policy decides; OnDead DeadContinue, DeadHalt, or "".
	OnFailure, OnDead string
	// ReplyTo is a literal subject that gets the outcome, or "".
	ReplyTo string
	// Traceparent is handed on as it is; one that no environment could carry is dropped, as its standard says.
	Traceparent string
	// Own are the publisher's own headers, the last value of each; nil when there are none.
	Own map[string]string
}

// Get returns the *last* value of a header: what the server adds stands last, so a publisher cannot forge it. Names
// are compared exactly, except traceparent, which programs write in any case.
func Get(h Header, name string) string {
	values, ok := h[name]
	if !ok && name == HeaderTraceparent {
		var found []string
		for k := range h {
			if strings.EqualFold(k, name) {
				found = append(found, k)
			}
		}
		if len(found) > 0 {
			sort.Strings(found)
			values = h[found[0]]
		}
	}
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// ReadJobHeader reads the headers of the job with sequence seq in q's jobs stream and fills in the defaults. An
// empty value is as good as none. The error is ErrHeader and names the header and its value: such a job is invalid.
func ReadJobHeader(q Queue, seq uint64, h Header) (JobHeader, error) {
	job := JobHeader{Kind: DefaultKind}
	for name, values := range h {
		if isOwn(name) && len(values) > 0 {
			value := values[len(values)-1]
			if strings.IndexByte(value, 0) >= 0 || strings.IndexByte(name, 0) >= 0 {
				return JobHeader{}, bad(name, value, "it holds a zero byte, which no environment can carry", "")
			}
			if job.Own == nil {
				job.Own = make(map[string]string, len(h))
			}
			job.Own[name] = value
		}
	}
	if v := Get(h, HeaderKind); v != "" {
		if !IsKind(v) {
			return JobHeader{}, bad(HeaderKind, v, "it is no kind", "a kind is 1 to 128 bytes of UTF-8 without white space or control characters")
		}
		job.Kind = v
	}
	if v := Get(h, HeaderTimeout); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return JobHeader{}, bad(HeaderTimeout, v, "it is no duration above zero", "write it with its unit, such as 90s or 5m")
		}
		job.Timeout = d
	}
	if v := Get(h, HeaderMaxAttempts); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 1 {
			return JobHeader{}, bad(HeaderMaxAttempts, v, "it is no whole number from 1 to 2147483647", "leave the header out to use the queue's policy")
		}
		job.MaxAttempts = int(n)
	}
	for _, c := range []struct {
		name   string
		to     *string
		values [2]string
	}{{HeaderOnFailure, &job.OnFailure, [2]string{FailureBlock, FailurePass}}, {HeaderOnDead, &job.OnDead, [2]string{DeadContinue, DeadHalt}}} {
		v := Get(h, c.name)
		if v != "" && v != c.values[0] && v != c.values[1] {
			return JobHeader{}, bad(c.name, v, "it is neither "+c.values[0]+" nor "+c.values[1], "leave the header out to use the queue's policy")
		}
		*c.to = v
	}
	if v := Get(h, HeaderReplyTo); v != "" {
		if why := badReply(v); why != "" {
			return JobHeader{}, bad(HeaderReplyTo, v, why, "name an inbox or a subject of your own")
		}
		job.ReplyTo = v
	}
	if v := Get(h, HeaderTraceparent); clean(v, maxKindBytes, true) {
		job.Traceparent = v
	}
	if name, id := publishersID(h); id == "" {
		job.ID = string(q) + "-" + strconv.FormatUint(seq, 10)
	} else if !clean(id, maxJobIDBytes, false) {
		return JobHeader{}, bad(name, id, "it is no id", "an id is 1 to 1024 bytes of UTF-8 without control characters")
	} else {
		job.ID = id
	}
	return job, nil
}

// IsKind tells whether jobs can be of that kind: 1 to 128 bytes of UTF-8 without white space or control characters.
func IsKind(kind string) bool { return clean(kind, maxKindBytes, true) }

// MoveID is the message id of one move of a message out of a stream. "Duplicate" in answer to it means that this
// very move was made before.
func MoveID(stream string, seq uint64, attempt int) string {
	return movePrefix + stream + "." + strconv.FormatUint(seq, 10) + "." + strconv.Itoa(attempt)
}

// SecretMoveID is the id of a move into a stream that publishers may write to. One of them could use up an id that it
// can guess, and the move would be taken for made; so the id ends with a secret, of letters and digits, that stands
// where publishers cannot read.
func SecretMoveID(stream string, seq uint64, attempt int, secret string) string {
	return MoveID(stream, seq, attempt) + "." + secret
}

const movePrefix = "seriatim."

// isMoveID tells the system's own ids from publishers': they must never be taken for the id of a job.
func isMoveID(id string) bool {
	parts := strings.Split(id, ".")
	if len(parts) != 4 && len(parts) != 5 || parts[0]+"." != movePrefix {
		return false
	}
	_, badSeq := strconv.ParseUint(parts[2], 10, 64)
	_, badAttempt := strconv.Atoi(parts[3])
	return badSeq == nil && badAttempt == nil
}

// StripServer copies headers for a message that is published again: without any Nats-* header in any case (the
// server would obey them, or refuse the message), and with the publisher's id as Job-Id. A job that had no id gets
// none: who moves it and wants it to keep "<queue>-<seq>" sets Job-Id to JobHeader.ID.
func StripServer(h Header) Header {
	out := make(Header, len(h)+1)
	for name, values := range h {
		if !hasPrefixFold(name, "Nats-") {
			out[name] = append([]string(nil), values...)
		}
	}
	if _, id := publishersID(h); id != "" {
		out[HeaderJobID] = []string{id}
	}
	return out
}

// publishersID is the id that the publisher gave, and the header that it stood in.
func publishersID(h Header) (name, id string) {
	if id := Get(h, HeaderJobID); id != "" {
		return HeaderJobID, id
	}
	if id := Get(h, HeaderMsgID); !isMoveID(id) {
		return HeaderMsgID, id
	}
	return "", ""
}

func isOwn(name string) bool {
	return !hasPrefixFold(name, "Nats-") && !hasPrefixFold(name, "Job-") && !strings.EqualFold(name, HeaderTraceparent)
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func bad(name, value, why, hint string) error {
	return problem.New("read header "+name+": "+quote(value), fmt.Errorf("%w: %s", ErrHeader, why), hint)
}

// clean tells whether a value can stand in an environment, a frame and a line of output.
func clean(s string, most int, solid bool) bool {
	if s == "" || len(s) > most || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || solid && unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// MayReply says whether workers send outcomes to this subject: to inboxes ("_INBOX…") and below "results". They send
// with their own rights, and must not be aimed at anything else by whoever may publish a job.
func MayReply(subject string) bool {
	first, rest, _ := strings.Cut(subject, ".")
	return badReply(subject) == "" && rest != "" && (strings.HasPrefix(first, "_INBOX") || first == "results")
}

// badReply says why nothing may be published to a reply subject, or "". The outcome is published with a worker's
// rights, so a publisher must not be able to aim it at the server's own subjects or at turns and claims.
func badReply(subject string) string {
	if !clean(subject, 1024, true) {
		return "it is no subject"
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || token == "*" || token == ">" {
			return "it is no literal subject"
		}
	}
	first, _, _ := strings.Cut(subject, ".")
	switch first {
	case PrefixTurns, PrefixClaims, PrefixDead, PrefixDue, PrefixSchedule, PrefixHistory:
		return "it is a subject of the system"
	}
	if first[0] == '$' {
		return "it is a subject of the server"
	}
	return ""
}
