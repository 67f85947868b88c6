// Package problem is the one shape of an error that a person reads: what was being done, what went wrong, and
// what to do next. Packages return these; only the edge (a command, a daemon's log) prints them.
//
// A Problem wraps its cause, so errors.Is and errors.As see through it. Nothing in it is matched by text.
package problem

import "errors"

// Error is an operation that failed, its cause, and a hint of the way out. The hint may be empty.
type Error struct {
	// Op says what was tried, with the input that it was tried on: `create queue "ci"`.
	Op string
	// Err is the cause.
	Err error
	// Hint is one sentence that says what to run or to change next.
	Hint string
}

// New returns an error value; a nil cause gives a nil error, so that it can wrap a call's result directly.
func New(op string, err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Err: err, Hint: hint}
}

// Error is the operation and its cause; the hint is printed apart (see Hint).
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Hint returns the outermost hint in err's chain, or "".
func Hint(err error) string {
	for err != nil {
		var p *Error
		if !errors.As(err, &p) {
			return ""
		}
		if p.Hint != "" {
			return p.Hint
		}
		err = p.Err
	}
	return ""
}
