package subjects

import (
	"fmt"

	"github.com/seriatim/seriatim/internal/problem"
)

// Names that belong to the whole installation, and the durable consumers that every queue has.
const (
	WorkersBucket = "WORKERS"
	WorkersStream = "KV_WORKERS"
	TurnsConsumer = "workers"
	AuditConsumer = "audit"
)

// Queue is the name of a domain of serial order. A value from ParseQueue is safe in subjects and stream names.
type Queue string

// ParseQueue checks a queue's name: 1 to 32 of a-z, 0-9, _ and -. The error is ErrQueueName.
func ParseQueue(name string) (Queue, error) {
	if !plain(name, 32, false) {
		return "", problem.New("read queue name "+quote(name), ErrQueueName, "use 1 to 32 of a-z, 0-9, _ and -")
	}
	return Queue(name), nil
}

// JobsStream names the stream of the queue's jobs.
func (q Queue) JobsStream() string { return "JOBS_" + string(q) }

// TurnsStream names the stream of the turns: at most one message per lane that has work.
func (q Queue) TurnsStream() string { return "TURNS_" + string(q) }

// ClaimsStream names the stream of the claims: at most one record per lane.
func (q Queue) ClaimsStream() string { return "CLAIMS_" + string(q) }

// DeadStream names the stream of the jobs that were given up.
func (q Queue) DeadStream() string { return "DEAD_" + string(q) }

// ScheduleStream names the stream of the jobs that are for later.
func (q Queue) ScheduleStream() string { return "SCHEDULE_" + string(q) }

// HistoryStream names the stream of the records of finished jobs.
func (q Queue) HistoryStream() string { return "HISTORY_" + string(q) }

// LanesBucket names the KV bucket of the lanes that an operator paused.
func (q Queue) LanesBucket() string { return "LANES_" + string(q) }

// Entity is what jobs act on, in its raw form. Make one with NewEntity, ParseEntity, ParseLane, ParseKey or
// ParseSubject: they check; the methods of an unchecked value give names that NATS may refuse.
type Entity struct{ Type, ID string }

// NewEntity checks a type (1 to 64 of A-Z a-z 0-9 _ -) and a raw id (1 to 256 bytes of UTF-8). Errors are
// ErrEntityType and ErrEntityID.
func NewEntity(typ, id string) (Entity, error) {
	e := Entity{typ, id}
	if !IsType(typ) {
		return Entity{}, problem.New("read entity "+quote(typ+"."+id), fmt.Errorf("%w: %s", ErrEntityType, quote(typ)),
			"a type is 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	if _, err := checkID(id); err != nil {
		return Entity{}, problem.New("read entity "+quote(e.String()), err,
			"an id is 1 to 256 bytes of UTF-8; where it cannot be, take a hash of it, and put the whole into the body")
	}
	return e, nil
}

// IsType tells whether an entity can be of that type: 1 to 64 of A-Z a-z 0-9 _ -.
func IsType(typ string) bool { return plain(typ, 64, true) }

// ParseEntity reads the raw form that people write: "build.123", "file.server/stream.go". The type ends at the
// first dot; the id is everything behind it.
func ParseEntity(raw string) (Entity, error) {
	typ, id, err := cut(raw)
	if err != nil {
		return Entity{}, problem.New("read entity "+quote(raw), err, "write it as type.id, such as build.123")
	}
	return NewEntity(typ, id)
}

// ParseLane reads the last two tokens of a subject, "type.<encoded id>". Errors are ErrEntityType, ErrEntityID and
// ErrEncoding, which says the canonical form.
func ParseLane(lane string) (Entity, error) {
	e, hint, err := parseLane(lane)
	if err != nil {
		return Entity{}, problem.New("read lane "+quote(lane), err, hint)
	}
	return e, nil
}

func parseLane(lane string) (Entity, string, error) {
	typ, token, err := cut(lane)
	if err != nil {
		return Entity{}, "", err
	}
	if !IsType(typ) {
		return Entity{}, "a type is 1 to 64 of A-Z, a-z, 0-9, _ and -", fmt.Errorf("%w: %s", ErrEntityType, quote(typ))
	}
	id, hint, err := decodeID(token)
	if err != nil {
		return Entity{}, hint, err
	}
	return Entity{typ, id}, "", nil
}

// cut splits at the first dot.
func cut(s string) (typ, rest string, err error) {
	for i := range len(s) {
		if s[i] == '.' {
			return s[:i], s[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("%w: there is no dot between type and id", ErrEntityType)
}

// String is the raw form, "type.id".
func (e Entity) String() string { return e.Type + "." + e.ID }

// Token is the lane: the last two tokens of the entity's subjects, "type.<encoded id>".
func (e Entity) Token() string {
	extra, _ := checkID(e.ID)
	return e.Type + "." + encode(e.ID, extra)
}

// Key is the entity as a key of a KV bucket, which may not hold %: "type.<id>" with every byte of the id outside
// A-Z a-z 0-9 _ - / written as = and two upper-case hex digits.
func (e Entity) Key() string {
	out := make([]byte, 0, len(e.Type)+1+3*len(e.ID))
	out = append(append(out, e.Type...), '.')
	for i := range len(e.ID) {
		if c := e.ID[i]; c == '/' || plain(e.ID[i:i+1], 1, true) {
			out = append(out, c)
		} else {
			out = append(out, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out)
}

// ParseKey is the inverse of Entity.Key, and as strict: a key that is not the entity's one key is ErrEncoding.
func ParseKey(key string) (Entity, error) {
	op := "read key " + quote(key)
	typ, coded, err := cut(key)
	if err != nil {
		return Entity{}, problem.New(op, err, "")
	}
	id, err := unescape(coded, '=')
	if err != nil {
		return Entity{}, problem.New(op, fmt.Errorf("%w: %w", ErrEncoding, err), "write a literal = as =3D")
	}
	e, err := NewEntity(typ, id)
	if err != nil {
		return Entity{}, problem.New(op, err, "")
	}
	if right := e.Key(); right != key {
		return Entity{}, problem.New(op, ErrEncoding, fmt.Sprintf("the key of this entity is %q", right))
	}
	return e, nil
}
