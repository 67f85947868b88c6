// Package frames is the protocol between workerd and a child that stays alive for many jobs: what is said over the
// child's descriptors 3 (to it) and 4 (from it).
//
// A frame is one line of JSON, then `len` bytes of body if the line has `len`. Unknown keys are ignored on both sides,
// and so are frames of an unknown kind, so that either side may be newer. Only Version grows when an old reader would
// misunderstand; who reads a newer version in `ready` refuses it.
//
// Invariants: a reader never panics and never holds more than its Limits, whatever the other side writes. Bytes that
// are no frame give an *Error that quotes them; after it the stream is out of step and the reader must be given up.
//
// Readers and the Append functions hold no locks: one goroutine at a time.
package frames

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Version is the protocol that this package speaks.
const Version = 1

// Job is the frame that hands a job to a child: {"run":17,"queue":"ci",…}.
type Job struct {
	// Run names this attempt between workerd and the child; every answer carries it. It is never used twice.
	Run uint64
	// Queue, Entity, Kind and ID say what the job is; Entity is the raw form, `build.123`.
	Queue, Entity, Kind, ID string
	// Seq is the job's sequence in its stream, Fence the lane's fencing token.
	Seq, Fence uint64
	// Attempt counts from 1.
	Attempt int
	// Timeout is the longest that the job may run; 0 is no limit. It travels in milliseconds, rounded up.
	Timeout time.Duration
	// Headers are the publisher's own.
	Headers map[string]string
	// Traceparent is the publisher's trace context, or "".
	Traceparent string
	// Body is the job's payload.
	Body []byte
}

// OrderKind says what a frame to the child asks for.
type OrderKind int

// What workerd may ask of a child.
const (
	OrderUnknown OrderKind = iota // from a newer workerd: ignore it
	OrderRun                      // Job is set
	OrderCancel                   // Run's time is over, or an operator cancelled it
	OrderStop                     // finish what runs, take no more, exit 0
)

// Order is a frame to the child.
type Order struct {
	Kind OrderKind
	Run  uint64
	Job  Job
}

// AnswerKind says what a frame from the child tells.
type AnswerKind int

// What a child may say.
const (
	AnswerUnknown  AnswerKind = iota // from a newer child: ignore it
	AnswerReady                      // Concurrency and Version are set
	AnswerDone                       // Run is done; Body is its result
	AnswerFail                       // Run failed; Error, Retry and RetryIn are set
	AnswerProgress                   // Run goes on; At, Of and Note are set
)

// Answer is a frame from the child.
type Answer struct {
	Kind AnswerKind
	Run  uint64

	// Concurrency is how many jobs the child takes at once, at least 1; a child that does not say takes one.
	Concurrency int
	// Version is the protocol that the child speaks; a child that does not say speaks 1.
	Version int

	// Error is the child's own words about a failure.
	Error string
	// Retry is false when the job failed for good. A child that does not say means true.
	Retry bool
	// RetryIn is when to try again; 0 leaves it to the queue's backoff.
	RetryIn time.Duration

	// At of Of steps are done; Of is 0 when the child does not know.
	At, Of float64
	// Note is what it works on, for people.
	Note string

	// Body is what came after the line, nil without `len`.
	Body []byte
}

// Limits bound what a reader takes from the other side.
type Limits struct {
	// Header is the longest line in bytes, without its end; 0 means DefaultHeader.
	Header int
	// Body is the longest body in bytes; 0 means DefaultBody.
	Body int
}

// The limits of a reader that was given none.
const (
	DefaultHeader = 1 << 20
	DefaultBody   = 64 << 20
)

// What can be wrong with bytes that should be a frame. They come wrapped in an *Error.
var (
	ErrNotFrame   = errors.New("not a frame")
	ErrLongHeader = errors.New("frame header too long")
	ErrLongBody   = errors.New("frame body too long")
	ErrTruncated  = errors.New("the stream ends inside a frame")
)

// Error says which bytes could not be read as a frame, and why. errors.Is finds one of the Err values above.
type Error struct {
	// Kind is one of ErrNotFrame, ErrLongHeader, ErrLongBody, ErrTruncated.
	Kind error
	// Bytes are the offending bytes, shortened to what a line of log can hold.
	Bytes []byte
	// More is true when Bytes were shortened.
	More bool
	// Detail says more about the cause, or is nil.
	Detail error
}

// excerptLen is how many offending bytes an error keeps.
const excerptLen = 80

func newError(kind error, bytes []byte, detail error) *Error {
	e := &Error{Kind: kind, Detail: detail, More: len(bytes) > excerptLen}
	e.Bytes = append(e.Bytes, bytes[:min(len(bytes), excerptLen)]...)
	return e
}

// Error quotes the offending bytes.
func (e *Error) Error() string {
	quoted := strconv.Quote(string(e.Bytes))
	if e.More {
		quoted += "…"
	}
	if e.Detail == nil {
		return fmt.Sprintf("%v: %s", e.Kind, quoted)
	}
	return fmt.Sprintf("%v: %s: %v", e.Kind, quoted, e.Detail)
}

// Unwrap gives the kind and the detail to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Detail == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Detail}
}
