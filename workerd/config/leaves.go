package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// leaf is one value of the tree, addressed twice: by path for origins (pools are counted: pools.0.mode), by key for
// people (pools are named: pools.rails.mode).
type leaf struct {
	path, key string
	value     reflect.Value
	pool      int    // index of its pool, or -1
	name      string // within the pool: memory.soft
}

func (l leaf) inPool(section string) bool {
	return l.pool >= 0 && (l.name == section || strings.HasPrefix(l.name, section+"."))
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	queuesType   = reflect.TypeFor[Queues]()
	stringsType  = reflect.TypeFor[[]string]()
	envType      = reflect.TypeFor[map[string]string]()
	poolsType    = reflect.TypeFor[[]Pool]()
)

// leaves lists every value of the tree in the order of the structs.
func (c *Config) leaves() []leaf {
	var out []leaf
	walk(reflect.ValueOf(c).Elem(), "", func(path string, v reflect.Value) {
		if v.Type() == alertsType {
			for i := range c.Alerts {
				walk(v.Index(i), alertPath(i)+".", func(path string, v reflect.Value) {
					out = append(out, leaf{path: path, key: path, value: v, pool: -1})
				})
			}
			return
		}
		if v.Type() != poolsType {
			out = append(out, leaf{path: path, key: path, value: v, pool: -1})
			return
		}
		for i := range c.Pools {
			prefix := poolPath(i)
			walk(v.Index(i), "", func(name string, v reflect.Value) {
				out = append(out, leaf{path: prefix + "." + name, key: c.keyOf(prefix + "." + name), value: v, pool: i, name: name})
			})
		}
	})
	return out
}

func poolPath(i int) string { return "pools." + strconv.Itoa(i) }

// keyOf turns a path into the form for people, with the pool's name in the place of its number once it has one.
func (c *Config) keyOf(path string) string {
	rest, ok := strings.CutPrefix(path, "pools.")
	if !ok {
		return path
	}
	number, name, _ := strings.Cut(rest, ".")
	i, err := strconv.Atoi(number)
	if err != nil || i >= len(c.Pools) || c.Pools[i].Name == "" {
		return strings.TrimSuffix("pools["+number+"]."+name, ".")
	}
	return strings.TrimSuffix("pools."+c.Pools[i].Name+"."+name, ".")
}

// walk visits the leaves below v, which is a struct.
func walk(v reflect.Value, prefix string, visit func(path string, v reflect.Value)) {
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag.Get("yaml")
		if tag == "" || tag == "-" {
			continue
		}
		f := v.Field(i)
		if f.Kind() == reflect.Struct && f.Type() != queuesType {
			walk(f, prefix+tag+".", visit)
			continue
		}
		visit(prefix+tag, f)
	}
}

// fields maps the keys of a struct to its fields.
func fields(v reflect.Value) (map[string]reflect.Value, []string) {
	known := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag.Get("yaml"); tag != "" && tag != "-" {
			known[tag] = v.Field(i)
			names = append(names, tag)
		}
	}
	return known, names
}

// setText reads text into a leaf: what environment and flags give, and YAML's scalars.
func setText(v reflect.Value, text string) error {
	switch v.Type() {
	case durationType:
		d, err := ParseDuration(text)
		if err == nil {
			v.SetInt(int64(d))
		}
		return err
	case sizeType:
		s, err := ParseSize(text)
		if err == nil {
			v.SetInt(int64(s))
		}
		return err
	case queuesType:
		q, err := parseQueues(text)
		if err == nil {
			v.Set(reflect.ValueOf(q))
		}
		return err
	case stringsType:
		v.Set(reflect.ValueOf(splitList(text)))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%q is more than fits: %d is the most", text, math.MaxInt32)
		}
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("cannot be given as text")
	}
	return nil
}

// Setting is one row of `config show`. Value is the form that the file would have; what looks like a secret in it is
// hidden.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Settings lists every value with its origin, in the order of the file.
func (c *Config) Settings() []Setting {
	var out []Setting
	for _, l := range c.leaves() {
		out = append(out, Setting{Key: l.key, Value: show(l), Origin: c.origins[l.path].String()})
	}
	return out
}

// Origin tells where the value of key came from; key may name a pool or count it: pools.rails.mode, pools.0.mode.
func (c *Config) Origin(key string) Origin {
	for _, l := range c.leaves() {
		if l.key == key || l.path == key {
			return c.origins[l.path]
		}
	}
	return Origin{}
}

func show(l leaf) string {
	switch v := l.value.Interface().(type) {
	case time.Duration:
		return formatDuration(v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = s
			if s == "" || strings.ContainsAny(s, " ,\"'\n\t[]{}*&#:") {
				quoted[i] = strconv.Quote(s)
			}
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case map[string]string:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		for i, name := range names {
			names[i] = name + ": " + hideSecret(name, v[name])
		}
		return "{" + strings.Join(names, ", ") + "}"
	case string:
		switch {
		case l.key == "nats.url":
			return hideUserInfo(v)
		case v != "" && strings.HasSuffix(l.key, ".token"):
			return "(hidden)"
		case v != "" && strings.HasSuffix(l.key, ".webhook"):
			return hideWebhook(v)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

func hideSecret(name, value string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' })
	for _, w := range []string{"password", "passwd", "secret", "token", "key", "credentials", "dsn"} {
		if slices.Contains(words, w) && value != "" {
			return "(hidden)"
		}
	}
	return hideUserInfo(value)
}

// hideUserInfo hides passwords and tokens in URLs, of which there may be several with commas between them.
func hideUserInfo(s string) string {
	if !strings.Contains(s, "@") {
		return s
	}
	parts := strings.Split(s, ",")
	for i, p := range parts {
		scheme, rest, ok := strings.Cut(p, "://")
		at := strings.LastIndex(rest, "@")
		if !ok || at < 0 {
			continue
		}
		if u, err := url.Parse(p); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				parts[i] = scheme + "://" + u.User.Username() + ":(hidden)" + rest[at:]
				continue
			}
		}
		parts[i] = scheme + "://(hidden)" + rest[at:]
	}
	return strings.Join(parts, ",")
}
