package streams

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// policyJSON is a policy in a stream's metadata and in output. Durations are text: people read them there.
type policyJSON struct {
	Lease       duration    `json:"lease"`
	MaxAttempts int         `json:"max_attempts"`
	MaxLost     int         `json:"max_lost"`
	MaxCrashes  int         `json:"max_crashes"`
	Backoff     backoffJSON `json:"backoff"`
	OnFailure   string      `json:"on_failure"`
	OnDead      string      `json:"on_dead"`
	MaxBytes    int64       `json:"max_bytes"`
	MaxJobSize  int64       `json:"max_job_size"`
	MaxMsgs     int64       `json:"max_msgs"`

	History        string         `json:"history"`
	HistoryMaxAge  duration       `json:"history_max_age"`
	HistoryMaxMsgs int64          `json:"history_max_msgs"`
	DeadMaxAge     duration       `json:"dead_max_age"`
	DeadMaxMsgs    int64          `json:"dead_max_msgs"`
	Limits         map[string]int `json:"limits"`

	Storage  string `json:"storage"`
	Replicas int    `json:"replicas"`
}

type backoffJSON struct {
	Base   duration `json:"base"`
	Max    duration `json:"max"`
	Factor float64  `json:"factor"`
	Jitter float64  `json:"jitter"`
}

type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

func (p Policy) wire() policyJSON {
	limits := p.Limits
	if limits == nil {
		limits = map[string]int{} // an object, for those who read it
	}
	return policyJSON{
		Lease: duration(p.Lease), MaxAttempts: p.MaxAttempts, MaxLost: p.MaxLost, MaxCrashes: p.MaxCrashes,
		Backoff:   backoffJSON{duration(p.Backoff.Base), duration(p.Backoff.Max), p.Backoff.Factor, p.Backoff.Jitter},
		OnFailure: p.OnFailure, OnDead: p.OnDead, MaxBytes: p.MaxBytes, MaxMsgs: p.MaxMsgs, MaxJobSize: p.MaxJobSize, Storage: p.Storage, Replicas: p.Replicas,
		History: p.History, HistoryMaxAge: duration(p.HistoryMaxAge), HistoryMaxMsgs: p.HistoryMaxMsgs,
		DeadMaxAge: duration(p.DeadMaxAge), DeadMaxMsgs: p.DeadMaxMsgs, Limits: limits,
	}
}

// MarshalJSON writes durations as "15s".
func (p Policy) MarshalJSON() ([]byte, error) { return json.Marshal(p.wire()) }

// UnmarshalJSON reads what MarshalJSON wrote. What is not said is as in DefaultPolicy, and unknown keys are ignored:
// versions differ during an upgrade.
func (p *Policy) UnmarshalJSON(text []byte) error {
	w := DefaultPolicy().wire()
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	*p = Policy{
		Lease: time.Duration(w.Lease), MaxAttempts: w.MaxAttempts, MaxLost: w.MaxLost, MaxCrashes: w.MaxCrashes,
		Backoff:   Backoff{time.Duration(w.Backoff.Base), time.Duration(w.Backoff.Max), w.Backoff.Factor, w.Backoff.Jitter},
		OnFailure: w.OnFailure, OnDead: w.OnDead, MaxBytes: w.MaxBytes, MaxMsgs: w.MaxMsgs, MaxJobSize: w.MaxJobSize, Storage: w.Storage, Replicas: w.Replicas,
		History: w.History, HistoryMaxAge: time.Duration(w.HistoryMaxAge), HistoryMaxMsgs: w.HistoryMaxMsgs,
		DeadMaxAge: time.Duration(w.DeadMaxAge), DeadMaxMsgs: w.DeadMaxMsgs,
	}
	if len(w.Limits) > 0 {
		p.Limits = w.Limits
	}
	return nil
}

// diff lists the fields in which is differs from p.
func (p Policy) diff(is Policy) []Diff {
	a, b := is.wire(), p.wire()
	return differing("policy", []compared{
		{"lease", time.Duration(a.Lease), time.Duration(b.Lease)},
		{"max_attempts", a.MaxAttempts, b.MaxAttempts},
		{"max_lost", a.MaxLost, b.MaxLost},
		{"max_crashes", a.MaxCrashes, b.MaxCrashes},
		{"backoff.base", time.Duration(a.Backoff.Base), time.Duration(b.Backoff.Base)},
		{"backoff.max", time.Duration(a.Backoff.Max), time.Duration(b.Backoff.Max)},
		{"backoff.factor", a.Backoff.Factor, b.Backoff.Factor},
		{"backoff.jitter", a.Backoff.Jitter, b.Backoff.Jitter},
		{"on_failure", a.OnFailure, b.OnFailure},
		{"on_dead", a.OnDead, b.OnDead},
		{"max_bytes", a.MaxBytes, b.MaxBytes},
		{"max_job_size", a.MaxJobSize, b.MaxJobSize},
		{"max_msgs", a.MaxMsgs, b.MaxMsgs},
		{"history", a.History, b.History},
		{"history_max_age", time.Duration(a.HistoryMaxAge), time.Duration(b.HistoryMaxAge)},
		{"history_max_msgs", a.HistoryMaxMsgs, b.HistoryMaxMsgs},
		{"dead_max_age", time.Duration(a.DeadMaxAge), time.Duration(b.DeadMaxAge)},
		{"dead_max_msgs", a.DeadMaxMsgs, b.DeadMaxMsgs},
		{"limits", LimitsText(a.Limits), LimitsText(b.Limits)},
		{"storage", a.Storage, b.Storage},
		{"replicas", a.Replicas, b.Replicas},
	})
}

// LimitsText is limits as people read them: "kind:archive=5 queue=20", or "none".
func LimitsText(limits map[string]int) string {
	if len(limits) == 0 {
		return "none"
	}
	parts := make([]string, 0, len(limits))
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, limits[name]))
	}
	return strings.Join(parts, " ")
}
