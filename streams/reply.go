package streams

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/seriatim/seriatim/streams/lane"
	"github.com/seriatim/seriatim/subjects"
)

// Reply is one message to a job's Job-Reply-To: how it ended, or what it does meanwhile. Replies are sent once and
// stored nowhere: who must know looks into the stores too.
type Reply struct {
	V      int    `json:"v"`
	Queue  string `json:"queue"`
	Entity string `json:"entity"`
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Seq    uint64 `json:"seq"`
	// Outcome is done, dead, halted or cancelled, and before that progress (At, Of, Note) or retry (Error, RetryAt).
	Outcome  string `json:"outcome"`
	Cause    string `json:"cause,omitempty"`
	Error    string `json:"error,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	Worker   string `json:"worker,omitempty"`
	Fence    uint64 `json:"fence,omitempty"`
	// Result is what a job of a child pool gave back: text as it is, or base64 when Encoding says so.
	Result   string `json:"result,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	// ResultBytes is the size of a result that was left out because the server takes no message of that size.
	ResultBytes int       `json:"result_bytes,omitempty"`
	RetryAt     time.Time `json:"retry_at,omitzero"`
	At          float64   `json:"at,omitempty"`
	Of          float64   `json:"of,omitempty"`
	Note        string    `json:"note,omitempty"`
}

// What a reply may say before the last one.
const (
	OutcomeProgress = "progress"
	OutcomeRetry    = "retry"
)

const replyVersion = 1

// Final says that the job is over, or halted: no further reply comes unless an operator acts.
func (r Reply) Final() bool {
	switch r.Outcome {
	case lane.EndDone.String(), lane.EndDead.String(), lane.EndHalted.String(), lane.EndCancelled.String():
		return true
	}
	return false
}

// SetResult fills in what the job gave back.
func (r *Reply) SetResult(body []byte) {
	if utf8.Valid(body) {
		r.Result, r.Encoding = string(body), ""
	} else {
		r.Result, r.Encoding = base64.StdEncoding.EncodeToString(body), "base64"
	}
}

// Body is what the job gave back; nil when there was nothing.
func (r Reply) Body() ([]byte, error) {
	switch {
	case r.Result == "":
		return nil, nil
	case r.Encoding == "base64":
		return base64.StdEncoding.DecodeString(r.Result)
	case r.Encoding != "":
		return nil, fmt.Errorf("the result is encoded as %q, which this version does not know", r.Encoding)
	}
	return []byte(r.Result), nil
}

// Message is the message to a subject, or nil when nothing may be sent there: see subjects.MayReply. most is the largest
// message that the server takes, in bytes, 0 for any.
func (r Reply) Message(to string, most int64) *nats.Msg {
	if !subjects.MayReply(to) {
		return nil
	}
	r.V = replyVersion
	r.Error, r.Note = oneLine(r.Error, maxDeadText), oneLine(r.Note, maxDeadText)
	body := compact(r)
	if most > 0 && int64(len(body)) > most {
		if was, err := r.Body(); err == nil {
			r.ResultBytes = len(was)
		}
		r.Result, r.Encoding = "", ""
		body = compact(r)
	}
	return &nats.Msg{Subject: to, Data: body}
}

// ReadReply reads what came on a Job-Reply-To.
func ReadReply(data []byte) (Reply, error) {
	var r Reply
	if err := json.Unmarshal(data, &r); err != nil {
		return Reply{}, fmt.Errorf("read a reply: %w", err)
	}
	return r, nil
}
