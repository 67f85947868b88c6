package config

import (
	"strconv"
	"strings"
)

// OriginKind is the layer that a value came from.
type OriginKind string

// The layers, from the weakest to the strongest.
const (
	FromDefault OriginKind = ""
	FromFile    OriginKind = "file"
	FromEnv     OriginKind = "env"
	FromFlag    OriginKind = "flag"
)

// Origin is where a value came from: Name is the file, the environment variable or the flag; Line counts from 1 and
// is 0 where there is none.
type Origin struct {
	Kind OriginKind
	Name string
	Line int
}

// String is `default`, `workerd.yaml:12`, `env SERIATIM_NATS_URL` or `flag --server`.
func (o Origin) String() string {
	switch o.Kind {
	case FromFile:
		if o.Line == 0 {
			return o.Name
		}
		return o.Name + ":" + strconv.Itoa(o.Line)
	case FromEnv, FromFlag:
		return string(o.Kind) + " " + o.Name
	default:
		return "default"
	}
}

// Error is one thing wrong with the configuration. Its text stands on one line.
type Error struct {
	Where Origin // the zero Origin when something is missing rather than wrong
	Key   string // dotted, with the pool's name: pools.rails.memory.soft; may be empty
	Msg   string // what is wrong and, where it is known, what to write instead
}

// Error is `workerd.yaml:12: pools.rails.concurrency: must be at least 1`.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Where.Kind != FromDefault {
		b.WriteString(e.Where.String() + ": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// Errors are all that is wrong, in the order of layers and lines; never empty when returned as an error.
type Errors []*Error

// Error has a line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors to errors.As.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i := range e {
		out[i] = e[i]
	}
	return out
}
