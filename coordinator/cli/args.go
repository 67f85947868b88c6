package cli

import (
	"errors"
	"strconv"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/schedule"
	"github.com/seriatim/seriatim/subjects"
)

// queueArg reads a queue's name from the command line.
func queueArg(name string) (subjects.Queue, error) {
	q, err := subjects.ParseQueue(name)
	if err != nil {
		return "", usage{err}
	}
	return q, nil
}

// badOption marks what the server's state has no part in as a fault of the command line.
func badOption(err error) error {
	for _, kind := range []error{streams.ErrPolicy, streams.ErrOption, schedule.ErrSpec, schedule.ErrName} {
		if errors.Is(err, kind) {
			return usage{err}
		}
	}
	return err
}

// sequences reads arguments that are sequences of messages.
func sequences(args []string) ([]uint64, error) {
	var out []uint64
	for _, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || n == 0 {
			return nil, usagef("a sequence is a number that a list shows", "%q is no sequence", arg)
		}
		out = append(out, n)
	}
	return out, nil
}

// entities reads --entity flags.
func entities(raw []string) ([]subjects.Entity, error) {
	var out []subjects.Entity
	for _, r := range raw {
		e, err := subjects.ParseEntity(r)
		if err != nil {
			return nil, usage{err}
		}
		out = append(out, e)
	}
	return out, nil
}
