package limits

import "strings"

// Queue is the name of the limit of all jobs of a queue.
const Queue = "queue"

// Kind is the name of the limit of a kind's jobs.
func Kind(kind string) string { return kindPrefix + kind }

// kindPrefix begins the names of kinds' limits.
const kindPrefix = "kind:"

// Type is the name of the limit of the jobs of an entity type.
func Type(typ string) string { return "type:" + typ }

// Names are all limits that a job may be under, the widest first. Without a kind they are those that its subject
// tells.
func Names(typ, kind string) []string {
	if kind == "" {
		return []string{Queue, Type(typ)}
	}
	return []string{Queue, Type(typ), Kind(kind)}
}

// keyPrefix begins the keys of limits in the bucket of lanes. No entity's key begins so.
const keyPrefix = "=limit."

// Keys is the pattern of all keys of limits, in subjects and watches.
const Keys = keyPrefix + "*"

// Key is the key of a limit's document in the bucket of lanes: what the bucket does not allow stands as = and two
// digits.
func Key(name string) string {
	const hex = "0123456789ABCDEF"
	out := []byte(keyPrefix)
	for i := range len(name) {
		if c := name[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// ParseKey is the name of the limit whose document has this key; false when it is no limit's.
func ParseKey(key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(key, keyPrefix)
	if !ok || rest == "" {
		return "", false
	}
	out := make([]byte, 0, len(rest))
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case plain(c):
			out = append(out, c)
		case c == '=' && i+2 < len(rest):
			hi, lo := unhex(rest[i+1]), unhex(rest[i+2])
			if hi > 15 || lo > 15 {
				return "", false
			}
			out = append(out, hi<<4|lo)
			i += 2
		default:
			return "", false
		}
	}
	name = string(out)
	return name, Key(name) == key
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
