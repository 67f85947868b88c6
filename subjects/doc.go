// Package subjects holds the names of the system: queues, entities and their one encoding, subjects, streams and
// headers. It is pure: no I/O, no state, no goroutine; every function may be called from anywhere.
//
// Invariants:
//
//   - One entity has exactly one token, and so one lane. A token that says the same id in other words (lower-case
//     hex, a character encoded without need) is an error, because it would be a second lane of the same entity.
//   - A token never holds `.`, `*`, `>`, white space or a control character, so it is one token of a NATS subject.
//   - Ids are compared as bytes. There is no Unicode normalisation.
//
// What cannot be used is an error value that names the input and what is wrong with it, and, where there is one,
// gives the form that would be right. Nothing here panics, whatever the input.
package subjects

import (
	"errors"
	"strconv"
)

// The kinds of refusal, for errors.Is. The errors themselves say more.
var (
	ErrQueueName  = errors.New("not a queue name")
	ErrEntityType = errors.New("not an entity type")
	ErrEntityID   = errors.New("not an entity id")
	ErrEncoding   = errors.New("not the canonical encoding")
	ErrSubject    = errors.New("not a subject of this system")
	ErrHeader     = errors.New("unusable header")
	ErrDomain     = errors.New("not a JetStream domain")
)

// quote shows an input in an error, shortened, because inputs come from outside and may be of any length.
func quote(s string) string {
	const most = 96
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// plain tells whether s has only A-Z a-z 0-9 _ - (without A-Z unless upper is true) and 1 to most bytes.
func plain(s string, most int, upper bool) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-':
		case upper && c >= 'A' && c <= 'Z':
		default:
			return false
		}
	}
	return true
}
