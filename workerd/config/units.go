package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// sizeUnits are tried as they stand, without regard to case.
var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"Ki", 1 << 10},
	{"Mi", 1 << 20},
	{"Gi", 1 << 30},
	{"Ti", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// ParseSize reads `1500MiB`, `2GB`, `0`. A number without a unit is refused unless it is 0, and so is a bare K, M, G
// or T, which mean two things.
func ParseSize(s string) (Size, error) {
	t := strings.TrimSpace(s)
	end := strings.LastIndexAny(t, "0123456789.") + 1
	number, unit := t[:end], strings.TrimSpace(t[end:])
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) || strings.ContainsAny(number, "eExXpP_") {
		return 0, fmt.Errorf("%q is not a size: write it as 1500MiB or 2GiB", s)
	}
	if v < 0 {
		return 0, fmt.Errorf("%q is below zero", s)
	}
	if unit == "" {
		if v == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("%q has no unit: write it as %sMiB or %sB", s, number, number)
	}
	for _, u := range sizeUnits {
		if strings.EqualFold(unit, u.name) {
			if v *= u.bytes; v >= math.MaxInt64 {
				return 0, fmt.Errorf("%q is more than fits", s)
			}
			if v > 0 && v < 1 {
				return 0, fmt.Errorf("%q is less than a byte: write 0 for no limit", s)
			}
			return Size(v), nil
		}
	}
	if len(unit) == 1 && strings.Contains("kKmMgGtT", unit) {
		up := strings.ToUpper(unit)
		return 0, fmt.Errorf("%q may mean two things: write %s%siB (1024) or %s%sB (1000)", s, number, up, number, up)
	}
	return 0, fmt.Errorf("%q has an unknown unit %q: use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB", s, unit)
}

// String is the exact value in the largest binary unit that leaves no fraction; 0 is "0".
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range []struct {
		name  string
		bytes Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Round is the value for people, with one digit after the point: 1.9GiB.
func (s Size) Round() string {
	for _, u := range []struct {
		name  string
		bytes float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if v := float64(s) / u.bytes; v >= 1 {
			return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + u.name
		}
	}
	return s.String()
}

// ParseDuration reads what Go reads (`25s`, `1h30m`, `250ms`) and a leading number of days (`2d`, `1d12h`). A number
// without a unit is refused unless it is 0, and so is anything below zero.
func ParseDuration(s string) (time.Duration, error) {
	t := strings.TrimSpace(s)
	var days time.Duration
	rest := t
	if number, after, ok := strings.Cut(t, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, notDuration(s)
		}
		if days, rest = time.Duration(n)*24*time.Hour, after; rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		if _, numeric := strconv.ParseFloat(t, 64); numeric == nil {
			return 0, fmt.Errorf("%q has no unit: write it as %ss or %sms", s, t, t)
		}
		return 0, notDuration(s)
	}
	if d < 0 || days > 0 && rest[0] == '+' {
		return 0, fmt.Errorf("%q is below zero or has a sign in the middle", s)
	}
	if days > math.MaxInt64-d {
		return 0, fmt.Errorf("%q is more than fits", s)
	}
	return days + d, nil
}

func notDuration(s string) error {
	return fmt.Errorf("%q is not a duration: write it as 25s, 15m or 1h30m", s)
}

// formatDuration drops the zero units that Go's form carries: 15m instead of 15m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// QueueWeight is a queue and its share of pulls; the weight is 0 in a list without weights.
type QueueWeight struct {
	Name   string
	Weight int
}

// Queues are names in order of preference, or names with weights.
type Queues struct {
	List     []QueueWeight
	Weighted bool
}

// Names returns the queues' names in the order given.
func (q Queues) Names() []string {
	names := make([]string, len(q.List))
	for i, w := range q.List {
		names[i] = w.Name
	}
	return names
}

// String is the form that environment and flags use: `ci,mail` or `ci=3,mail=1`.
func (q Queues) String() string {
	parts := make([]string, len(q.List))
	for i, w := range q.List {
		parts[i] = w.Name
		if q.Weighted {
			parts[i] += "=" + strconv.Itoa(w.Weight)
		}
	}
	return strings.Join(parts, ",")
}

func parseQueues(s string) (Queues, error) {
	var q Queues
	for i, part := range splitList(s) {
		name, weight, weighted := strings.Cut(part, "=")
		if i > 0 && weighted != q.Weighted {
			return q, errors.New("either all queues have a weight (ci=3,mail=1) or none has")
		}
		w := QueueWeight{Name: strings.TrimSpace(name)}
		if weighted {
			n, err := strconv.Atoi(strings.TrimSpace(weight))
			if err != nil {
				return q, fmt.Errorf("weight %q of queue %q is not a whole number", weight, name)
			}
			w.Weight = n
		}
		q.Weighted = weighted
		q.List = append(q.List, w)
	}
	return q, nil
}

func splitList(s string) []string {
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return slices.DeleteFunc(parts, func(p string) bool { return p == "" })
}
