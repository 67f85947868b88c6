package frames

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"time"
)

// answerLine is the header of any frame from a child. Pointers tell "absent" from zero.
type answerLine struct {
	Ready       bool    `json:"ready"`
	Concurrency int     `json:"concurrency"`
	Version     *int    `json:"version"`
	Done        *uint64 `json:"done"`
	Fail        *uint64 `json:"fail"`
	Progress    *uint64 `json:"progress"`
	Error       string  `json:"error"`
	Retry       *bool   `json:"retry"`
	RetryInMS   float64 `json:"retry_in_ms"`
	At          float64 `json:"at"`
	Of          float64 `json:"of"`
	Note        string  `json:"note"`
	Len         *int64  `json:"len"`
}

var (
	errSeveral   = errors.New("it says more than one thing at once")
	errNegative  = errors.New("its len is negative")
	errNotObject = errors.New("it is no JSON object")
)

// decodeAnswer reads a header line; length is -1 without a body.
func decodeAnswer(line []byte) (a Answer, length int64, err error) {
	var in answerLine
	if err := unmarshal(line, &in); err != nil {
		return a, 0, err
	}
	if length, err = bodyLength(in.Len); err != nil {
		return a, 0, err
	}
	said := 0
	is := func(kind AnswerKind, run *uint64) {
		if run != nil {
			a.Kind, a.Run = kind, *run
			said++
		}
	}
	is(AnswerDone, in.Done)
	is(AnswerFail, in.Fail)
	is(AnswerProgress, in.Progress)
	if in.Ready {
		a.Kind = AnswerReady
		said++
	}
	if said > 1 {
		return Answer{}, 0, errSeveral
	}
	switch a.Kind {
	case AnswerReady:
		a.Concurrency, a.Version = max(1, in.Concurrency), 1
		if in.Version != nil {
			a.Version = *in.Version
		}
	case AnswerFail:
		a.Error, a.Retry = in.Error, in.Retry == nil || *in.Retry
		a.RetryIn = duration(in.RetryInMS)
	case AnswerProgress:
		a.At, a.Of, a.Note = in.At, in.Of, in.Note
	}
	return a, length, nil
}

// decodeDone is the short way for the frame that ends nearly every job, written exactly as the contract writes it:
// {"done":17} or {"done":17,"len":5}. Anything else is left to decodeAnswer, which gives the same for these.
func decodeDone(line []byte) (a Answer, length int64, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"done":`))
	if !ok {
		return a, 0, false
	}
	run, rest, ok := digits(rest)
	if !ok {
		return a, 0, false
	}
	length = -1
	if after, has := bytes.CutPrefix(rest, []byte(`,"len":`)); has {
		n, left, ok := digits(after)
		if !ok {
			return a, 0, false
		}
		length, rest = int64(n), left
	}
	if len(rest) != 1 || rest[0] != '}' {
		return a, 0, false
	}
	return Answer{Kind: AnswerDone, Run: run}, length, true
}

// digits reads a JSON integer of at most 18 digits, so that nothing can overflow.
func digits(b []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && i < 18 && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + uint64(b[i]-'0')
	}
	if i == 0 || (b[0] == '0' && i > 1) {
		return 0, nil, false
	}
	return n, b[i:], true
}

// orderLine is the header of any frame to a child.
type orderLine struct {
	Run         *uint64           `json:"run"`
	Cancel      *uint64           `json:"cancel"`
	Stop        bool              `json:"stop"`
	Queue       string            `json:"queue"`
	Entity      string            `json:"entity"`
	Kind        string            `json:"kind"`
	ID          string            `json:"id"`
	Seq         uint64            `json:"seq"`
	Fence       uint64            `json:"fence"`
	Attempt     int               `json:"attempt"`
	TimeoutMS   float64           `json:"timeout_ms"`
	Headers     map[string]string `json:"headers"`
	Traceparent string            `json:"traceparent"`
	Len         *int64            `json:"len"`
}

func decodeOrder(line []byte) (o Order, length int64, err error) {
	var in orderLine
	if err := unmarshal(line, &in); err != nil {
		return o, 0, err
	}
	if length, err = bodyLength(in.Len); err != nil {
		return o, 0, err
	}
	said := 0
	if in.Run != nil {
		said++
		o = Order{Kind: OrderRun, Run: *in.Run, Job: Job{
			Run: *in.Run, Queue: in.Queue, Entity: in.Entity, Kind: in.Kind, ID: in.ID, Seq: in.Seq, Fence: in.Fence,
			Attempt: in.Attempt, Timeout: duration(in.TimeoutMS), Headers: in.Headers, Traceparent: in.Traceparent,
		}}
	}
	if in.Cancel != nil {
		said++
		o = Order{Kind: OrderCancel, Run: *in.Cancel}
	}
	if in.Stop {
		said++
		o = Order{Kind: OrderStop}
	}
	if said > 1 {
		return Order{}, 0, errSeveral
	}
	return o, length, nil
}

func unmarshal(line []byte, into any) error {
	if len(line) == 0 || line[0] != '{' {
		return errNotObject
	}
	return json.Unmarshal(line, into)
}

func bodyLength(n *int64) (int64, error) {
	switch {
	case n == nil:
		return -1, nil
	case *n < 0:
		return 0, errNegative
	}
	return *n, nil
}

// duration turns milliseconds into a Duration: never negative, never past what one can hold.
func duration(ms float64) time.Duration {
	if ms <= 0 {
		return 0
	}
	if ms >= float64(math.MaxInt64/int64(time.Millisecond)) {
		return math.MaxInt64
	}
	whole, part := math.Modf(ms) // apart, so that whole milliseconds stay exact
	return time.Duration(whole)*time.Millisecond + time.Duration(part*float64(time.Millisecond))
}
