package schedule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	_ "time/tzdata" // the same zones on every host, also where none are installed

	"github.com/seriatim/seriatim/internal/problem"
)

// ErrSpec: times that cannot be, or that nobody can read.
var ErrSpec = errors.New("unusable schedule")

// LeastEvery is the shortest interval between two times of a schedule.
const LeastEvery = time.Second

// Spec says when. Exactly one of Cron, Every and At is set. Times makes it usable, and checks it.
type Spec struct {
	// Cron is an expression of five fields, of six with seconds first, or a word such as @daily.
	Cron string `json:"cron,omitempty"`
	// TimeZone is the IANA name of the zone in which Cron is read; empty is UTC.
	TimeZone string `json:"time_zone,omitempty"`
	// Every is an interval, counted from Start: the first time is one interval after it.
	Every Duration  `json:"every,omitempty"`
	Start time.Time `json:"start,omitzero"`
	// At is the only time.
	At time.Time `json:"at,omitzero"`
}

// Duration is a time.Duration that stands in JSON as people write it: "10m0s".
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// String is for people: "cron 0 2 * * * in Europe/Berlin", "every 10m0s", "at 2026-…".
func (s Spec) String() string {
	switch {
	case s.Cron != "":
		return "cron " + s.Cron + " in " + s.zone()
	case s.Every != 0:
		return "every " + time.Duration(s.Every).String()
	default:
		return "at " + s.At.UTC().Format(time.RFC3339Nano)
	}
}

func (s Spec) zone() string {
	if s.TimeZone == "" {
		return "UTC"
	}
	return s.TimeZone
}

// Same says that two specs are the same to the one who wrote them: the start of an interval is not theirs.
func (s Spec) Same(t Spec) bool {
	s.Start, t.Start = time.Time{}, time.Time{}
	at := s.At.Equal(t.At)
	s.At, t.At = time.Time{}, time.Time{}
	return s == t && at
}

// Times are the times of a checked spec.
type Times interface {
	// Next is the first time after t; zero, and ok is false, when there is none.
	Next(t time.Time) (next time.Time, ok bool)
}

// Times checks a spec. The error is ErrSpec and says what is wrong with which part.
func (s Spec) Times() (Times, error) {
	op := "read schedule"
	fail := func(hint, format string, args ...any) (Times, error) {
		return nil, problem.New(op, fmt.Errorf("%w: %s", ErrSpec, fmt.Sprintf(format, args...)), hint)
	}
	set := 0
	for _, is := range []bool{s.Cron != "", s.Every != 0, !s.At.IsZero()} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return fail("give one of a cron expression, an interval and a time", "%d of cron, every and at are given", set)
	case s.Cron == "" && s.TimeZone != "":
		return fail("an interval and a time are the same everywhere", "time zone %q does nothing without a cron expression", s.TimeZone)
	case s.Every != 0:
		if time.Duration(s.Every) < LeastEvery {
			return fail("", "every %v is less than %v", time.Duration(s.Every), LeastEvery)
		}
		return interval{s.Start, time.Duration(s.Every)}, nil
	case !s.At.IsZero():
		return once(s.At), nil
	}
	zone, err := location(s.TimeZone)
	if err != nil {
		return fail("write it as in the IANA database, such as Europe/Berlin or America/New_York", "time zone %q is not known", s.TimeZone)
	}
	table, err := parseCron(s.Cron)
	if err != nil {
		return fail("five fields are minute hour day-of-month month day-of-week, such as '30 2 * * 1-5'; six begin with seconds; or @hourly, @daily, @weekly, @monthly, @yearly",
			"cron expression %q: %v", s.Cron, err)
	}
	times := calendar{table, zone, table.Hour&everyHour == everyHour}
	if _, ok := times.Next(time.Unix(0, 0)); !ok {
		return fail("is there such a day?", "cron expression %q never comes true", s.Cron)
	}
	return times, nil
}

// location is a zone by its name. "Local" is none: each worker would have its own.
func location(name string) (*time.Location, error) {
	if strings.EqualFold(name, "local") {
		return nil, errors.New("a zone of its own on each host")
	}
	return time.LoadLocation(name)
}

var parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

func parseCron(text string) (*cron.SpecSchedule, error) {
	if strings.Contains(text, "TZ=") {
		return nil, errors.New("the time zone is given apart from it")
	}
	if strings.HasPrefix(strings.TrimSpace(text), "@every") {
		return nil, errors.New("an interval is given apart from it")
	}
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("it is empty")
	}
	parsed, err := parser.Parse(text)
	if err != nil {
		return nil, err
	}
	table, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("it is no expression of fields")
	}
	return table, nil
}
