package streams_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/streams/lane"
)

func TestPolicyValidate(t *testing.T) {
	if err := streams.DefaultPolicy().Validate(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(*streams.Policy){
		"lease is 0s":    func(p *streams.Policy) { p.Lease = 0 },
		"lease is 2s":    func(p *streams.Policy) { p.Lease = 2 * time.Second },
		"lease is 1h":    func(p *streams.Policy) { p.Lease = time.Hour },
		"attempts is -1": func(p *streams.Policy) { p.MaxLost = -1 },
		"size":           func(p *streams.Policy) { p.MaxBytes = -1 },
		"limit of size":  func(p *streams.Policy) { p.MaxJobSize = math.MaxInt32 + 1 },
		"backoff goes":   func(p *streams.Policy) { p.Backoff.Max = time.Millisecond },
		"backoff factor": func(p *streams.Policy) { p.Backoff.Factor = math.NaN() },
		"backoff jitter": func(p *streams.Policy) { p.Backoff.Jitter = 1.1 },
		"on_failure":     func(p *streams.Policy) { p.OnFailure = "retry" },
		"history":        func(p *streams.Policy) { p.History = "none" },
		"records is -1":  func(p *streams.Policy) { p.DeadMaxMsgs = -1 },
		"age is 500ms":   func(p *streams.Policy) { p.HistoryMaxAge = time.Second / 2 },
		"age is -1s":     func(p *streams.Policy) { p.DeadMaxAge = -time.Second },
		`limit "queu"`:   func(p *streams.Policy) { p.Limits = map[string]int{"queu": 1} },
		"is no kind":     func(p *streams.Policy) { p.Limits = map[string]int{"kind:a b": 1} },
		"no entity type": func(p *streams.Policy) { p.Limits = map[string]int{"queue": 1, "type:a.b": 1} },
		`limit "kind:"`:  func(p *streams.Policy) { p.Limits = map[string]int{"queue": 1, "kind:": 1} },
		`"queue" is 0`:   func(p *streams.Policy) { p.Limits = map[string]int{"queue": 0} },
		"on_dead":        func(p *streams.Policy) { p.OnDead = "" },
		"storage":        func(p *streams.Policy) { p.Storage = "disk" },
		"replicas":       func(p *streams.Policy) { p.Replicas = 0 },
	} {
		p := streams.DefaultPolicy()
		spoil(&p)
		if err := p.Validate(); !errors.Is(err, streams.ErrPolicy) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestPolicyJSON(t *testing.T) {
	text, err := json.Marshal(streams.DefaultPolicy())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"lease":"15s","max_attempts":5,"max_lost":3,"max_crashes":3,` +
		`"backoff":{"base":"1s","max":"10m0s","factor":2,"jitter":0.2},"on_failure":"block","on_dead":"continue",` +
		`"max_bytes":0,"max_job_size":0,"max_msgs":0,` +
		`"history":"failures","history_max_age":"168h0m0s","history_max_msgs":1000000,"dead_max_age":"0s","dead_max_msgs":0,"limits":{},` +
		`"storage":"file","replicas":1}`
	if string(text) != want {
		t.Fatalf("the contract changed:\n%s\n%s", text, want)
	}

	var p streams.Policy
	if err := json.Unmarshal([]byte(`{"lease":"20s","max_attempts":0,"backoff":{"max":"1m"},"colour":"red"}`), &p); err != nil {
		t.Fatal(err)
	}
	q := streams.DefaultPolicy()
	q.Lease, q.MaxAttempts, q.Backoff.Max = 20*time.Second, 0, time.Minute
	if !p.Equal(q) {
		t.Fatalf("%+v", p)
	}
	if err := json.Unmarshal([]byte(`{"lease":15}`), &p); err == nil {
		t.Fatal("a lease without a unit was read")
	}
}

// What an earlier version wrote reads as if it had said the defaults.
func TestPolicyOfAnEarlierVersion(t *testing.T) {
	var p streams.Policy
	err := json.Unmarshal([]byte(`{"lease":"15s","max_attempts":5,"max_lost":3,"max_crashes":3,`+
		`"backoff":{"base":"1s","max":"10m0s","factor":2,"jitter":0.2},"on_failure":"block","on_dead":"continue",`+
		`"max_bytes":0,"max_job_size":0,"max_msgs":0,"storage":"file","replicas":1}`), &p)
	if err != nil || !p.Equal(streams.DefaultPolicy()) {
		t.Fatalf("%v\n%+v", err, p)
	}
}

func TestPolicyEqual(t *testing.T) {
	p := streams.DefaultPolicy()
	for _, change := range []func(*streams.Policy){
		func(p *streams.Policy) { p.History = streams.HistoryAll },
		func(p *streams.Policy) { p.HistoryMaxAge++ },
		func(p *streams.Policy) { p.HistoryMaxMsgs++ },
		func(p *streams.Policy) { p.DeadMaxAge++ },
		func(p *streams.Policy) { p.DeadMaxMsgs++ },
		func(p *streams.Policy) { p.Limits = map[string]int{"queue": 1} },
	} {
		q := p
		change(&q)
		if p.Equal(q) || q.Equal(p) {
			t.Errorf("%+v", q)
		}
	}
}

func TestPolicyJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := streams.Policy{
			Lease:       time.Duration(rapid.Int64().Draw(t, "lease")),
			MaxAttempts: rapid.Int().Draw(t, "attempts"), MaxLost: rapid.Int().Draw(t, "lost"), MaxCrashes: rapid.Int().Draw(t, "crashes"),
			Backoff: streams.Backoff{
				Base: time.Duration(rapid.Int64().Draw(t, "base")), Max: time.Duration(rapid.Int64().Draw(t, "max")),
				Factor: rapid.Float64().Draw(t, "factor"), Jitter: rapid.Float64().Draw(t, "jitter"),
			},
			OnFailure: rapid.String().Draw(t, "failure"), OnDead: rapid.String().Draw(t, "dead"), Storage: rapid.String().Draw(t, "storage"),
			MaxBytes: rapid.Int64().Draw(t, "bytes"), MaxMsgs: rapid.Int64().Draw(t, "msgs"),
			MaxJobSize: rapid.Int64().Draw(t, "job size"), Replicas: rapid.Int().Draw(t, "replicas"),
			History: rapid.String().Draw(t, "history"), HistoryMaxAge: time.Duration(rapid.Int64().Draw(t, "history age")),
			HistoryMaxMsgs: rapid.Int64().Draw(t, "records"), DeadMaxAge: time.Duration(rapid.Int64().Draw(t, "dead age")),
			DeadMaxMsgs: rapid.Int64().Draw(t, "letters"),
			Limits:      rapid.MapOf(rapid.String(), rapid.Int()).Draw(t, "limits"),
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back streams.Policy
		if err := json.Unmarshal(text, &back); err != nil || !back.Equal(p) {
			t.Fatalf("%s: %v %+v", text, err, back)
		}
	})
}

func TestPolicyDelay(t *testing.T) {
	p := streams.DefaultPolicy()
	zero := func() float64 { return 0 }
	for attempt, want := range map[int]time.Duration{-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 10: 512 * time.Second, 11: 10 * time.Minute, math.MaxInt32: 10 * time.Minute} {
		if got := p.Delay(attempt, zero); got != want {
			t.Errorf("attempt %d: %s, want %s", attempt, got, want)
		}
	}
	endless := streams.Backoff{Base: time.Hour, Max: math.MaxInt64, Factor: math.MaxFloat64}
	if got := (streams.Policy{Backoff: endless}).Delay(math.MaxInt32, zero); got != lane.LongestWait {
		t.Errorf("the longest backoff is %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		rnd := rapid.Float64Range(0, 0.999).Draw(t, "rnd")
		attempt := rapid.IntRange(1, 100).Draw(t, "attempt")
		got, most := p.Delay(attempt, func() float64 { return rnd }), p.Delay(attempt, zero)
		if got > most || float64(got) < float64(most)*0.8 {
			t.Fatalf("%s is not within a fifth below %s", got, most)
		}
	})
}
