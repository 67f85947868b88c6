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
)

func TestPolicyValidate(t *testing.T) {
	if err := streams.DefaultPolicy().Validate(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(*streams.Policy){
		"lease is 0s":    func(p *streams.Policy) { p.Lease = 0 },
		"lease is 2s":    func(p *streams.Policy) { p.Lease = 2 * time.Second },
		"lease is 1h":    func(p *streams.Policy) { p.Lease = time.Hour },
		"attempts":       func(p *streams.Policy) { p.MaxLost = -1 },
		"size":           func(p *streams.Policy) { p.MaxBytes = -1 },
		"limit of size":  func(p *streams.Policy) { p.MaxJobSize = math.MaxInt32 + 1 },
		"backoff goes":   func(p *streams.Policy) { p.Backoff.Max = time.Millisecond },
		"backoff factor": func(p *streams.Policy) { p.Backoff.Factor = math.NaN() },
		"backoff jitter": func(p *streams.Policy) { p.Backoff.Jitter = 1.1 },
		"on_failure":     func(p *streams.Policy) { p.OnFailure = "retry" },
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
		`"max_bytes":0,"max_job_size":0,"max_msgs":0,"storage":"file","replicas":1}`
	if string(text) != want {
		t.Fatalf("the contract changed:\n%s\n%s", text, want)
	}

	var p streams.Policy
	if err := json.Unmarshal([]byte(`{"lease":"20s","max_attempts":0,"backoff":{"max":"1m"},"colour":"red"}`), &p); err != nil {
		t.Fatal(err)
	}
	q := streams.DefaultPolicy()
	q.Lease, q.MaxAttempts, q.Backoff.Max = 20*time.Second, 0, time.Minute
	if p != q {
		t.Fatalf("%+v", p)
	}
	if err := json.Unmarshal([]byte(`{"lease":15}`), &p); err == nil {
		t.Fatal("a lease without a unit was read")
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
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back streams.Policy
		if err := json.Unmarshal(text, &back); err != nil || back != p {
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
	rapid.Check(t, func(t *rapid.T) {
		rnd := rapid.Float64Range(0, 0.999).Draw(t, "rnd")
		attempt := rapid.IntRange(1, 100).Draw(t, "attempt")
		got, most := p.Delay(attempt, func() float64 { return rnd }), p.Delay(attempt, zero)
		if got > most || float64(got) < float64(most)*0.8 {
			t.Fatalf("%s is not within a fifth below %s", got, most)
		}
	})
}
