package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
)

func event(t int64, what string, op int, fence uint64) record.Event {
	return record.Event{T: t, What: what, Run: record.Run{Entity: "e.1", Op: op, Seq: uint64(op), Fence: fence}, PID: 7, Worker: "w"}
}

func pub(op int, call, ack int64) Published {
	return Published{Op: op, Entity: "e.1", Call: call, Ack: ack, Seq: uint64(op), Sent: 1}
}

func TestLinear(t *testing.T) {
	start, finish := record.Start, record.Finish
	for name, c := range map[string]struct {
		all    []Published
		events []record.Event
		broken bool
	}{
		"in order": {
			all:    []Published{pub(1, 1, 2), pub(2, 3, 4)},
			events: []record.Event{event(5, start, 1, 1), event(6, finish, 1, 1), event(7, start, 2, 2), event(8, finish, 2, 2)},
		},
		"a start before the answer": {
			all:    []Published{pub(1, 1, 9)},
			events: []record.Event{event(5, start, 1, 1), event(6, finish, 1, 1)},
		},
		"two publishers at once, either order": {
			all:    []Published{pub(1, 1, 9), pub(2, 1, 9)},
			events: []record.Event{event(11, start, 2, 1), event(12, finish, 2, 1), event(13, start, 1, 2), event(14, finish, 1, 2)},
		},
		"one after the other, the wrong order": {
			all:    []Published{pub(1, 1, 2), pub(2, 3, 9)},
			events: []record.Event{event(11, start, 2, 1), event(12, finish, 2, 1), event(13, start, 1, 2), event(14, finish, 1, 2)},
			broken: true,
		},
		"a start before the job was sent": {
			all: []Published{pub(1, 5, 6)}, events: []record.Event{event(3, start, 1, 1)}, broken: true,
		},
		"cut short and again": {
			all:    []Published{pub(1, 1, 2)},
			events: []record.Event{event(3, start, 1, 1), event(4, start, 1, 2), event(5, finish, 1, 2)},
		},
		"finished and again": {
			all:    []Published{pub(1, 1, 2)},
			events: []record.Event{event(3, start, 1, 1), event(4, finish, 1, 1), event(5, start, 1, 2), event(6, finish, 1, 2)},
		},
		"a fence that did not grow": {
			all: []Published{pub(1, 1, 2)}, events: []record.Event{event(3, start, 1, 2), event(4, start, 1, 2)}, broken: true,
		},
		"two met": {
			all:    []Published{pub(1, 1, 2)},
			events: []record.Event{event(3, start, 1, 1), event(4, start, 1, 2), event(5, finish, 1, 1), event(6, finish, 1, 2)},
			broken: true,
		},
		"the next one before the end": {
			all:    []Published{pub(1, 1, 2), pub(2, 1, 2)},
			events: []record.Event{event(3, start, 1, 1), event(4, start, 2, 2), event(5, finish, 1, 1), event(6, finish, 2, 2)},
			broken: true,
		},
		"again after its successor": {
			all: []Published{pub(1, 1, 2), pub(2, 3, 4)},
			events: []record.Event{
				event(5, start, 1, 1), event(6, finish, 1, 1), event(7, start, 2, 2), event(8, start, 1, 3),
			},
			broken: true,
		},
		"a run that gave up": {
			all:    []Published{pub(1, 1, 2)},
			events: []record.Event{event(3, start, 1, 1), event(4, record.Failed, 1, 1), event(5, start, 1, 2), event(6, finish, 1, 2)},
		},
	} {
		lanes, broken, unknown := Linear(c.all, record.Log{Events: c.events})
		if lanes != 1 || len(unknown) > 0 || (len(broken) > 0) != c.broken {
			t.Errorf("%s: %d lanes, %v broken, %v unknown", name, lanes, broken, unknown)
		}
	}
}

// Many publishes that were on their way together have one order only that explains the runs: it is found at once, and
// that there is none too.
func TestLinearIsDecided(t *testing.T) {
	const n = 200
	var all []Published
	var events []record.Event
	for i := 1; i <= n; i++ {
		all = append(all, pub(i, 1, 10))
		job := i * 77 % (n + 1) // 77 and 201 have no common factor, so each job comes once
		events = append(events, event(int64(10+2*i), record.Start, job, uint64(i)), event(int64(11+2*i), record.Finish, job, uint64(i)))
	}
	if _, broken, unknown := Linear(all, record.Log{Events: events}); len(broken)+len(unknown) > 0 {
		t.Errorf("broken %v, unknown %v", broken, unknown)
	}
	last := len(events) - 1
	events[last-2], events[last] = events[last], events[last-2]
	events[last-2].T, events[last].T = events[last].T, events[last-2].T
	if _, broken, _ := Linear(all, record.Log{Events: events}); len(broken) != 1 {
		t.Error("two runs met, and it takes that for fine")
	}
}

func TestIdles(t *testing.T) {
	all := []Published{pub(1, 1, 10), pub(2, 1, 20)}
	log := record.Log{Events: []record.Event{
		event(15, record.Start, 1, 1), event(50, record.Finish, 1, 1), event(90, record.Start, 2, 2), event(99, record.Finish, 2, 2),
	}}
	got := Idles(all, log, []Span{{55, 65}, {60, 70}, {200, 300}})
	want := []Idle{{Entity: "e.1", Op: 2, Span: Span{50, 90}, Calm: 25}, {Entity: "e.1", Op: 1, Span: Span{10, 15}, Calm: 5}}
	if !slices.Equal(got, want) || got[0].Long() != 40*time.Nanosecond {
		t.Errorf("%+v", got)
	}
}

// A second message of a job that was sent twice is a job of its own; one of a job that was sent once is not.
func TestExpect(t *testing.T) {
	all := []Published{pub(1, 1, 2), pub(2, 1, 2), pub(3, 1, 2)}
	all[0].Sent = 2
	second, foreign := event(5, record.Start, 1, 9), event(6, record.Start, 2, 10)
	second.Seq, foreign.Seq = 100, 101
	log := record.Log{Events: []record.Event{event(3, record.Start, 1, 1), second, foreign}, Torn: 1}
	jobs, renamed, copies := Expect(all, log)
	want := []record.Job{{Op: 1, Entity: "e.1"}, {Op: 2, Entity: "e.1"}, {Op: 3, Entity: "e.1"}, {Op: 4, Entity: "e.1"}}
	if !slices.Equal(jobs, want) || len(copies) != 1 || copies[0].Op != 4 || copies[0].Seq != 100 {
		t.Errorf("%v, copies %v", jobs, copies)
	}
	if e := renamed.Events; e[0].Op != 1 || e[1].Op != 4 || e[2].Op != 2 || renamed.Torn != 1 || log.Events[1].Op != 1 {
		t.Errorf("%+v", renamed)
	}
}
