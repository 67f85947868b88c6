package streams

import (
	"fmt"
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

// settings are what of a stream's configuration this system relies on. All else (placement, compression, description,
// sources, the server's own metadata) is the operator's.
var settings = []struct {
	name string
	get  func(c *jetstream.StreamConfig) any
	set  func(to, from *jetstream.StreamConfig)
}{
	{"subjects", func(c *jetstream.StreamConfig) any { return strings.Join(c.Subjects, " ") }, func(to, from *jetstream.StreamConfig) { to.Subjects = from.Subjects }},
	{"retention", func(c *jetstream.StreamConfig) any { return c.Retention }, func(to, from *jetstream.StreamConfig) { to.Retention = from.Retention }},
	{"storage", func(c *jetstream.StreamConfig) any { return c.Storage }, func(to, from *jetstream.StreamConfig) { to.Storage = from.Storage }},
	{"replicas", func(c *jetstream.StreamConfig) any { return c.Replicas }, func(to, from *jetstream.StreamConfig) { to.Replicas = from.Replicas }},
	{"discard", func(c *jetstream.StreamConfig) any { return c.Discard }, func(to, from *jetstream.StreamConfig) { to.Discard = from.Discard }},
	{"discard_new_per_subject", func(c *jetstream.StreamConfig) any { return c.DiscardNewPerSubject }, func(to, from *jetstream.StreamConfig) { to.DiscardNewPerSubject = from.DiscardNewPerSubject }},
	{"max_msgs", func(c *jetstream.StreamConfig) any { return c.MaxMsgs }, func(to, from *jetstream.StreamConfig) { to.MaxMsgs = from.MaxMsgs }},
	{"max_bytes", func(c *jetstream.StreamConfig) any { return c.MaxBytes }, func(to, from *jetstream.StreamConfig) { to.MaxBytes = from.MaxBytes }},
	{"max_age", func(c *jetstream.StreamConfig) any { return c.MaxAge }, func(to, from *jetstream.StreamConfig) { to.MaxAge = from.MaxAge }},
	{"max_msgs_per_subject", func(c *jetstream.StreamConfig) any { return c.MaxMsgsPerSubject }, func(to, from *jetstream.StreamConfig) { to.MaxMsgsPerSubject = from.MaxMsgsPerSubject }},
	{"max_msg_size", func(c *jetstream.StreamConfig) any { return c.MaxMsgSize }, func(to, from *jetstream.StreamConfig) { to.MaxMsgSize = from.MaxMsgSize }},
	{"max_consumers", func(c *jetstream.StreamConfig) any { return c.MaxConsumers }, func(to, from *jetstream.StreamConfig) { to.MaxConsumers = from.MaxConsumers }},
	{"duplicate_window", func(c *jetstream.StreamConfig) any { return c.Duplicates }, func(to, from *jetstream.StreamConfig) { to.Duplicates = from.Duplicates }},
	{"no_ack", func(c *jetstream.StreamConfig) any { return c.NoAck }, func(to, from *jetstream.StreamConfig) { to.NoAck = from.NoAck }},
	{"sealed", func(c *jetstream.StreamConfig) any { return c.Sealed }, func(to, from *jetstream.StreamConfig) { to.Sealed = from.Sealed }},
	{"deny_delete", func(c *jetstream.StreamConfig) any { return c.DenyDelete }, func(to, from *jetstream.StreamConfig) { to.DenyDelete = from.DenyDelete }},
	{"deny_purge", func(c *jetstream.StreamConfig) any { return c.DenyPurge }, func(to, from *jetstream.StreamConfig) { to.DenyPurge = from.DenyPurge }},
	{"allow_rollup_hdrs", func(c *jetstream.StreamConfig) any { return c.AllowRollup }, func(to, from *jetstream.StreamConfig) { to.AllowRollup = from.AllowRollup }},
	{"allow_direct", func(c *jetstream.StreamConfig) any { return c.AllowDirect }, func(to, from *jetstream.StreamConfig) { to.AllowDirect = from.AllowDirect }},
	{"allow_msg_ttl", func(c *jetstream.StreamConfig) any { return c.AllowMsgTTL }, func(to, from *jetstream.StreamConfig) { to.AllowMsgTTL = from.AllowMsgTTL }},
	{"subject_delete_marker_ttl", func(c *jetstream.StreamConfig) any { return c.SubjectDeleteMarkerTTL }, func(to, from *jetstream.StreamConfig) { to.SubjectDeleteMarkerTTL = from.SubjectDeleteMarkerTTL }},
	{"allow_msg_schedules", func(c *jetstream.StreamConfig) any { return c.AllowMsgSchedules }, func(to, from *jetstream.StreamConfig) { to.AllowMsgSchedules = from.AllowMsgSchedules }},
	{"allow_msg_counter", func(c *jetstream.StreamConfig) any { return c.AllowMsgCounter }, func(to, from *jetstream.StreamConfig) { to.AllowMsgCounter = from.AllowMsgCounter }},
	{"persist_mode", func(c *jetstream.StreamConfig) any { return c.PersistMode }, func(to, from *jetstream.StreamConfig) { to.PersistMode = from.PersistMode }},
	{"mirror", func(c *jetstream.StreamConfig) any { return c.Mirror != nil }, func(to, from *jetstream.StreamConfig) { to.Mirror = from.Mirror }},
	{"subject_transform", func(c *jetstream.StreamConfig) any { return c.SubjectTransform != nil }, func(to, from *jetstream.StreamConfig) { to.SubjectTransform = from.SubjectTransform }},
	{"republish", func(c *jetstream.StreamConfig) any { return republishText(c.RePublish) }, func(to, from *jetstream.StreamConfig) { to.RePublish = from.RePublish }},
	{MetaSchema, func(c *jetstream.StreamConfig) any { return c.Metadata[MetaSchema] }, func(to, from *jetstream.StreamConfig) { setMeta(to, from, MetaSchema) }},
	{MetaPolicy, func(c *jetstream.StreamConfig) any { return c.Metadata[MetaPolicy] }, func(to, from *jetstream.StreamConfig) { setMeta(to, from, MetaPolicy) }},
}

func republishText(r *jetstream.RePublish) string {
	if r == nil {
		return "none"
	}
	text := r.Source + " to " + r.Destination
	if r.HeadersOnly {
		text += ", headers only"
	}
	return text
}

func setMeta(to, from *jetstream.StreamConfig, key string) {
	value, ok := from.Metadata[key]
	if !ok {
		return
	}
	meta := map[string]string{key: value}
	for k, v := range to.Metadata {
		if k != key {
			meta[k] = v
		}
	}
	to.Metadata = meta
}

// diffStream compares a stream with what it should be.
func (p part) diffStream(is *jetstream.StreamConfig) []Diff {
	want := p.cfg
	if p.shared && is.Replicas > want.Replicas {
		want.Replicas = is.Replicas // another queue needs them
	}
	var out []Diff
	for _, s := range settings {
		if s.name == MetaPolicy {
			continue // compared field by field, by Policy.diff
		}
		if a, b := s.get(is), s.get(&want); a != b {
			out = append(out, Diff{want.Name + "." + s.name, fmt.Sprint(a), fmt.Sprint(b)})
		}
	}
	return out
}

// applied is a stream's configuration with our settings put right and the operator's own kept.
func (p part) applied(is jetstream.StreamConfig) jetstream.StreamConfig {
	want := p.cfg
	if p.shared && is.Replicas > want.Replicas {
		want.Replicas = is.Replicas
	}
	for _, s := range settings {
		s.set(&is, &want)
	}
	return is
}

// diffConsumer compares a durable consumer with what it should be.
func diffConsumer(stream string, want, is *jetstream.ConsumerConfig) []Diff {
	var out []Diff
	for _, f := range []struct {
		name     string
		is, want any
	}{
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
	} {
		if f.is != f.want {
			out = append(out, Diff{stream + "." + want.Durable + "." + f.name, fmt.Sprint(f.is), fmt.Sprint(f.want)})
		}
	}
	return out
}
