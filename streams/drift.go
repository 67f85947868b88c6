package streams

import (
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

// Diff is one setting that is not what the policy makes it.
type Diff struct {
	// Setting is "policy.lease", "JOBS_ci.max_bytes" or "TURNS_ci.workers.ack_wait".
	Setting string `json:"setting"`
	Is      string `json:"is"`
	Policy  string `json:"policy"`
}

func (d Diff) String() string {
	return fmt.Sprintf("%s: is %s, policy says %s", d.Setting, d.Is, d.Policy)
}

// DriftError lists what differs. It is ErrDrift for errors.Is.
type DriftError struct {
	Queue subjects.Queue
	Diffs []Diff
}

func (e *DriftError) Error() string {
	lines := make([]string, len(e.Diffs))
	for i, d := range e.Diffs {
		lines[i] = d.String()
	}
	return fmt.Sprintf("queue %q: %v: %s", string(e.Queue), ErrDrift, strings.Join(lines, "; "))
}

// Is makes errors.Is(err, ErrDrift) true.
func (e *DriftError) Is(target error) bool { return target == ErrDrift }

func drifted(op string, q subjects.Queue, diffs []Diff) error {
	if len(diffs) == 0 {
		return nil
	}
	return problem.New(op, &DriftError{q, diffs},
		fmt.Sprintf("nothing was changed; to apply the stored policy again: coordinator queue edit %s; to change it, add the flags to that", q))
}

const missing = "missing"

type streamConfig = jetstream.StreamConfig

// settings are what of a stream's configuration this system relies on, each as a pointer to its field. All else
// (placement, compression, description, sources, the server's own metadata) is the operator's.
var settings = []struct {
	name  string
	field func(c *streamConfig) any
}{
	{"subjects", func(c *streamConfig) any { return &c.Subjects }},
	{"retention", func(c *streamConfig) any { return &c.Retention }},
	{"storage", func(c *streamConfig) any { return &c.Storage }},
	{"replicas", func(c *streamConfig) any { return &c.Replicas }},
	{"discard", func(c *streamConfig) any { return &c.Discard }},
	{"discard_new_per_subject", func(c *streamConfig) any { return &c.DiscardNewPerSubject }},
	{"max_msgs", func(c *streamConfig) any { return &c.MaxMsgs }},
	{"max_bytes", func(c *streamConfig) any { return &c.MaxBytes }},
	{"max_age", func(c *streamConfig) any { return &c.MaxAge }},
	{"max_msgs_per_subject", func(c *streamConfig) any { return &c.MaxMsgsPerSubject }},
	{"max_msg_size", func(c *streamConfig) any { return &c.MaxMsgSize }},
	{"max_consumers", func(c *streamConfig) any { return &c.MaxConsumers }},
	{"duplicate_window", func(c *streamConfig) any { return &c.Duplicates }},
	{"no_ack", func(c *streamConfig) any { return &c.NoAck }},
	{"sealed", func(c *streamConfig) any { return &c.Sealed }},
	{"deny_delete", func(c *streamConfig) any { return &c.DenyDelete }},
	{"deny_purge", func(c *streamConfig) any { return &c.DenyPurge }},
	{"allow_rollup_hdrs", func(c *streamConfig) any { return &c.AllowRollup }},
	{"allow_direct", func(c *streamConfig) any { return &c.AllowDirect }},
	{"allow_msg_ttl", func(c *streamConfig) any { return &c.AllowMsgTTL }},
	{"subject_delete_marker_ttl", func(c *streamConfig) any { return &c.SubjectDeleteMarkerTTL }},
	{"allow_msg_schedules", func(c *streamConfig) any { return &c.AllowMsgSchedules }},
	{"allow_msg_counter", func(c *streamConfig) any { return &c.AllowMsgCounter }},
	{"persist_mode", func(c *streamConfig) any { return &c.PersistMode }},
	{"mirror", func(c *streamConfig) any { return &c.Mirror }},
	{"subject_transform", func(c *streamConfig) any { return &c.SubjectTransform }},
	{"republish", func(c *streamConfig) any { return &c.RePublish }},
}

// settingText is a setting as a person reads it.
func settingText(field any) string {
	switch v := field.(type) {
	case *[]string:
		return strings.Join(*v, " ")
	case **jetstream.RePublish:
		switch r := *v; {
		case r == nil:
			return "none"
		case r.HeadersOnly:
			return r.Source + " to " + r.Destination + ", headers only"
		default:
			return r.Source + " to " + r.Destination
		}
	}
	v := reflect.ValueOf(field).Elem()
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "none"
		}
		return fmt.Sprintf("%+v", v.Elem().Interface())
	}
	return fmt.Sprint(v.Interface())
}

// wanted is what the stream should be, given what it is: replicas of a stream that other queues share only go up.
func (p part) wanted(is *streamConfig) streamConfig {
	want := p.cfg
	if p.shared {
		want.Replicas = max(want.Replicas, is.Replicas)
	}
	return want
}

// diffStream compares a stream with what it should be. The policy in its metadata is compared field by field, by
// Policy.diff.
func (p part) diffStream(is *streamConfig) []Diff {
	want := p.wanted(is)
	var out []Diff
	for _, s := range settings {
		if a, b := s.field(is), s.field(&want); !reflect.DeepEqual(a, b) {
			out = append(out, Diff{want.Name + "." + s.name, settingText(a), settingText(b)})
		}
	}
	return out
}

// applied is a stream's configuration with our settings put right and the operator's own kept.
func (p part) applied(is streamConfig) streamConfig {
	want := p.wanted(&is)
	for _, s := range settings {
		reflect.ValueOf(s.field(&is)).Elem().Set(reflect.ValueOf(s.field(&want)).Elem())
	}
	meta := map[string]string{}
	maps.Copy(meta, is.Metadata)
	maps.Copy(meta, want.Metadata)
	is.Metadata = meta
	return is
}

// diffConsumer compares a durable consumer with what it should be.
func diffConsumer(stream string, want, is *jetstream.ConsumerConfig) []Diff {
	return differing(stream+"."+want.Durable, []compared{
		{"deliver_policy", is.DeliverPolicy, want.DeliverPolicy},
		{"ack_policy", is.AckPolicy, want.AckPolicy},
		{"ack_wait", is.AckWait, want.AckWait},
		{"max_deliver", is.MaxDeliver, want.MaxDeliver},
		{"max_ack_pending", is.MaxAckPending, want.MaxAckPending},
		{"max_waiting", is.MaxWaiting, want.MaxWaiting},
		{"filter_subject", strings.TrimSpace(is.FilterSubject + " " + strings.Join(is.FilterSubjects, " ")), want.FilterSubject},
		{"backoff", len(is.BackOff), len(want.BackOff)},
		{"headers_only", is.HeadersOnly, want.HeadersOnly},
		{"deliver_subject", is.DeliverSubject, want.DeliverSubject},
		{"max_batch", is.MaxRequestBatch, want.MaxRequestBatch},
		{"max_expires", is.MaxRequestExpires, want.MaxRequestExpires},
		{"max_bytes", is.MaxRequestMaxBytes, want.MaxRequestMaxBytes},
		{"inactive_threshold", is.InactiveThreshold, want.InactiveThreshold},
		{"priority_groups", len(is.PriorityGroups), len(want.PriorityGroups)},
		{"num_replicas", is.Replicas, want.Replicas},
		{"mem_storage", is.MemoryStorage, want.MemoryStorage},
	})
}

// compared is one setting as it is and as it should be.
type compared struct {
	name     string
	is, want any
}

// differing lists the settings of something that are not as they should be.
func differing(of string, settings []compared) []Diff {
	var out []Diff
	for _, s := range settings {
		if s.is != s.want {
			out = append(out, Diff{of + "." + s.name, fmt.Sprint(s.is), fmt.Sprint(s.want)})
		}
	}
	return out
}
