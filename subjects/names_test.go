package subjects

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/internal/problem"
)

func TestQueueNames(t *testing.T) {
	for _, name := range []string{"ci", "a", "0", "a-b_c9", strings.Repeat("q", 32)} {
		if q, err := ParseQueue(name); err != nil || string(q) != name {
			t.Errorf("ParseQueue(%q) = %q, %v", name, q, err)
		}
	}
	for _, name := range []string{"", "CI", "a.b", "a b", "*", ">", "é", strings.Repeat("q", 33)} {
		if _, err := ParseQueue(name); !errors.Is(err, ErrQueueName) || problem.Hint(err) == "" {
			t.Errorf("ParseQueue(%q): %v", name, err)
		}
	}
}

func TestNamesOfAQueue(t *testing.T) {
	q, e := Queue("ci"), Entity{"file", "server/stream.go"}
	for got, want := range map[string]string{
		q.JobsStream():     "JOBS_ci",
		q.TurnsStream():    "TURNS_ci",
		q.ClaimsStream():   "CLAIMS_ci",
		q.DeadStream():     "DEAD_ci",
		q.ScheduleStream(): "SCHEDULE_ci",
		q.LanesBucket():    "LANES_ci",
		q.JobSubject(e):    "jobs.ci.file.server/stream%2Ego",
		q.TurnSubject(e):   "turns.ci.file.server/stream%2Ego",
		q.ClaimSubject(e):  "claims.ci.file.server/stream%2Ego",
		q.DeadSubject(e):   "dead.ci.file.server/stream%2Ego",
		q.DueSubject(e):    "due.ci.file.server/stream%2Ego",
		q.Job("a.b"):       "jobs.ci.a.b",
		q.Filter("jobs"):   "jobs.ci.*.*",
		e.Key():            "file.server/stream=2Ego",
		e.Token():          "file.server/stream%2Ego",
		e.String():         "file.server/stream.go",
		WorkersStream:      "KV_" + WorkersBucket,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEntities(t *testing.T) {
	if e, err := ParseEntity("file.server/stream.go"); err != nil || e != (Entity{"file", "server/stream.go"}) {
		t.Errorf("%v, %v", e, err)
	}
	if e, err := ParseLane("file.server/stream%2Ego"); err != nil || e != (Entity{"file", "server/stream.go"}) {
		t.Errorf("%v, %v", e, err)
	}
	for raw, is := range map[string]error{
		"":                                ErrEntityType,
		"build":                           ErrEntityType,
		".1":                              ErrEntityType,
		"bu ild.1":                        ErrEntityType,
		"bü.1":                            ErrEntityType,
		strings.Repeat("t", 65) + ".1":    ErrEntityType,
		"build.":                          ErrEntityID,
		"build.\xFF":                      ErrEntityID,
		"b." + strings.Repeat("x", 10000): ErrEntityID,
	} {
		_, err := ParseEntity(raw)
		if !errors.Is(err, is) || len(err.Error()) > 500 {
			t.Errorf("ParseEntity(%q): %v", raw, err)
		}
		if _, err := ParseLane(raw); err == nil {
			t.Errorf("ParseLane(%q) is an entity", raw)
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	for _, key := range []string{"", "build", "build.", "build.a=2eb", "build.=41", "build.=2", "build.a.b", "build.a%b", "build.=FF", "b d.1"} {
		if e, err := ParseKey(key); err == nil {
			t.Errorf("ParseKey(%q) = %v", key, e)
		}
	}
}

var kvKey = regexp.MustCompile(`^[-/_=.A-Za-z0-9]+$`)

func TestKeysSuitTheBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Entity{"build", anyID().Draw(t, "id")}
		if key := e.Key(); !kvKey.MatchString(key) || strings.Count(key, ".") != 1 || strings.HasSuffix(key, ".") {
			t.Fatalf("%q is no key", key)
		}
	})
}

func TestSubjectsThatAreNone(t *testing.T) {
	for subject, is := range map[string]error{
		"":                      ErrSubject,
		"...":                   ErrSubject,
		"jobs.ci.build":         ErrSubject,
		"jobs.ci.build.1.2":     ErrSubject,
		"jobs.ci..1":            ErrSubject,
		".ci.build.1":           ErrSubject,
		"jobs.ci.build.":        ErrSubject,
		"schedule.ci.build.1":   ErrSubject,
		"JOBS.ci.build.1":       ErrSubject,
		"jobs.CI.build.1":       ErrQueueName,
		"jobs.*.build.1":        ErrQueueName,
		"jobs.ci.bü.1":          ErrEntityType,
		"jobs.ci.build.*":       ErrEncoding,
		"jobs.ci.build.>":       ErrEncoding,
		"jobs.ci.build.a%2eb":   ErrEncoding,
		"jobs.ci.build.a%FFb":   ErrEntityID,
		"jobs.ci.build.a b":     ErrEncoding,
		"jobs.ci.build.a\r\nb":  ErrEncoding,
		"jobs.ci.build.\u00A0x": ErrEncoding,
	} {
		if prefix, q, e, err := ParseSubject(subject); !errors.Is(err, is) || prefix != "" || q != "" || e != (Entity{}) {
			t.Errorf("ParseSubject(%q) = %q %q %v, %v", subject, prefix, q, e, err)
		}
	}
	for _, prefix := range []string{"jobs", "turns", "claims", "dead", "due"} {
		got, q, e, err := ParseSubject(prefix + ".ci.build.1")
		if err != nil || got != prefix || q != "ci" || e != (Entity{"build", "1"}) {
			t.Errorf("%s: %q %q %v, %v", prefix, got, q, e, err)
		}
	}
}

// A lane is found also where its encoding is wrong, because such a job must be given up by its lane.
func TestLaneOf(t *testing.T) {
	for subject, want := range map[string]string{
		"jobs.ci.build.123": "build.123", "jobs.ci.b%zz.%2e": "b%zz.%2e", "a.b.c.d": "c.d",
		"jobs.ci.build": "", "jobs.ci.build.1.2": "", "jobs.ci.build.": "", "jobs.ci..1": "", "..a.b": "", "": "", "....": "",
	} {
		if lane, ok := LaneOf(subject); lane != want || ok != (want != "") {
			t.Errorf("LaneOf(%q) = %q, %v", subject, lane, ok)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	for _, c := range codings {
		f.Add("jobs.ci.build." + c.token)
	}
	f.Add("turns.ci.build.a%2eb")
	f.Add("...")
	f.Fuzz(func(t *testing.T, subject string) {
		prefix, q, e, err := ParseSubject(subject)
		if err != nil {
			return
		}
		if back := prefix + "." + string(q) + "." + e.Token(); back != subject {
			t.Fatalf("%q is also %q", subject, back)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add("build.1")
	f.Add("build.=2E")
	f.Add("build.=2e")
	f.Fuzz(func(t *testing.T, key string) {
		if e, err := ParseKey(key); err == nil && (e.Key() != key || !kvKey.MatchString(key)) {
			t.Fatalf("%q is also %q", key, e.Key())
		}
	})
}
