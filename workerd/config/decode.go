package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/seriatim/seriatim/internal/nearest"
	"go.yaml.in/yaml/v3"
)

// maxNodes bounds how much of a file is walked, aliases counted each time, so that a few lines of nested aliases
// cannot keep the reader busy for ever. A thousand pools fit.
const maxNodes = 200_000

// decoder lays one YAML document over a Config, noting origins and collecting errors.
type decoder struct {
	cfg    *Config
	file   string
	errs   Errors
	budget int
	gaveUp bool
}

func (d *decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.errs = append(d.errs, &Error{
		Where: Origin{FromFile, d.file, n.Line}, Key: d.cfg.keyOf(path), Msg: fmt.Sprintf(format, args...),
	})
}

// decodeFile reads data over cfg.
func decodeFile(cfg *Config, file string, data []byte) Errors {
	d := &decoder{cfg: cfg, file: file, budget: maxNodes}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // an empty file says nothing
		}
		return Errors{syntaxError(file, err)}
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		d.fail(&second, "", "a second document starts here: one file holds one configuration")
	} else if !errors.Is(err, io.EOF) {
		d.errs = append(d.errs, syntaxError(file, err))
	}
	if len(doc.Content) == 1 {
		d.value(doc.Content[0], reflect.ValueOf(cfg).Elem(), "")
	}
	return d.errs
}

// syntaxError lifts the line out of the parser's text, where it has no field of its own. Nothing depends on it.
func syntaxError(file string, err error) *Error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	where := Origin{FromFile, file, 0}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, msg, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				where.Line, text = line, msg
			}
		}
	}
	return &Error{Where: where, Msg: "not YAML: " + text}
}

// value reads node into v; path is "" for the root.
func (d *decoder) value(node *yaml.Node, v reflect.Value, path string) {
	node = d.resolve(node, path)
	if node == nil || isNull(node) {
		return // `http:` with nothing behind it leaves the default
	}
	switch v.Type() {
	case poolsType:
		d.pools(node)
		return
	case alertsType:
		d.alerts(node)
		return
	case queuesType:
		d.queues(node, v, path)
	case stringsType:
		d.list(node, v, path)
	case envType:
		d.env(node, v, path)
	default:
		if v.Kind() == reflect.Struct {
			d.mapping(node, v, path)
			return
		}
		d.scalar(node, v, path)
	}
	d.cfg.origins[path] = Origin{FromFile, d.file, node.Line}
}

// resolve follows an alias and counts the node. It returns nil when the budget is spent.
func (d *decoder) resolve(node *yaml.Node, path string) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if d.budget--; d.budget < 0 {
		if !d.gaveUp {
			d.gaveUp = true
			d.fail(node, path, "the file is too large, or its aliases repeat too much")
		}
		return nil
	}
	return node
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func (d *decoder) wrong(node *yaml.Node, path, want string) {
	d.fail(node, path, "must be %s, not %s", want, describe(node))
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!bool":
		return n.Value
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return "the text " + strconv.Quote(n.Value)
}

// entries calls visit for each key of a mapping, once, merged mappings (`<<`) first so that a key of one's own wins.
func (d *decoder) entries(node *yaml.Node, path string, visit func(key, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.ShortTag() != "!!merge" {
			continue
		}
		from := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			from = value.Content
		}
		for _, f := range from {
			if f = d.resolve(f, path); f == nil {
				return
			}
			if f.Kind != yaml.MappingNode {
				d.wrong(f, path, "a map behind <<")
				continue
			}
			d.entries(f, path, visit)
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.ShortTag() == "!!merge" {
			continue
		}
		if key = d.resolve(key, path); key == nil {
			return
		}
		if key.Kind != yaml.ScalarNode {
			d.fail(key, path, "a key must be a word, not %s", describe(key))
			continue
		}
		if first, twice := seen[key.Value]; twice {
			d.fail(key, path, "%q is given twice, first on line %d", key.Value, first)
			continue
		}
		seen[key.Value] = key.Line
		visit(key, value)
	}
}

func (d *decoder) mapping(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		d.wrong(node, path, "a map of keys and values")
		return
	}
	known, names := fields(v)
	d.entries(node, path, func(key, value *yaml.Node) {
		field, ok := known[key.Value]
		if !ok {
			d.fail(key, path, "unknown key %q%s", key.Value, hintFor(key.Value, names))
			return
		}
		d.value(value, field, join(path, key.Value))
	})
}

// hintFor names the key that was meant: the nearest one here, or the same word where it does belong.
func hintFor(word string, here []string) string {
	if h := nearest.Hint(word, here); h != "" {
		return h
	}
	sample := &Config{Pools: make([]Pool, 1), Alerts: make([]Alert, 1)}
	for _, l := range sample.leaves() {
		if last := l.path[strings.LastIndexByte(l.path, '.')+1:]; last == word && strings.Contains(l.path, ".") {
			return fmt.Sprintf(" (did you mean %s?)", strings.Replace(l.path, ".0.", "[].", 1))
		}
	}
	return ""
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) scalar(node *yaml.Node, v reflect.Value, path string) {
	want := map[reflect.Kind]string{reflect.Int: "a whole number", reflect.Float64: "a number", reflect.String: "text"}[v.Kind()]
	switch v.Type() {
	case durationType:
		want = "a duration such as 25s"
	case sizeType:
		want = "a size such as 1500MiB"
	}
	if node.Kind != yaml.ScalarNode {
		d.wrong(node, path, want)
		return
	}
	number := v.Type() != durationType && v.Type() != sizeType && v.Kind() != reflect.String
	if tag := node.ShortTag(); number && tag != "!!int" && tag != "!!float" {
		d.wrong(node, path, want)
		return
	}
	if err := setText(v, node.Value); err != nil {
		d.fail(node, path, "%s", err)
	}
}

// text reads a scalar as the text that stands in the file: `PORT: 3000` is "3000".
func (d *decoder) text(node *yaml.Node, path, want string) (string, bool) {
	if node = d.resolve(node, path); node == nil {
		return "", false
	}
	if node.Kind != yaml.ScalarNode {
		d.wrong(node, path, want)
		return "", false
	}
	if isNull(node) {
		return "", true
	}
	return node.Value, true
}

func (d *decoder) list(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.SequenceNode {
		hint := ""
		if strings.HasSuffix(path, ".command") && node.Kind == yaml.ScalarNode {
			hint = fmt.Sprintf(": write [%s], or [sh, -c, %q] for a line of shell", strings.Join(strings.Fields(node.Value), ", "), node.Value)
		}
		d.fail(node, path, "must be a list, not %s%s", describe(node), hint)
		return
	}
	out := make([]string, 0, len(node.Content))
	for _, n := range node.Content {
		s, ok := d.text(n, path, "a list of words")
		if !ok {
			return
		}
		out = append(out, s)
	}
	v.Set(reflect.ValueOf(out))
}

func (d *decoder) env(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		d.wrong(node, path, "a map of names and values")
		return
	}
	out := map[string]string{}
	d.entries(node, path, func(key, value *yaml.Node) {
		if key.Value == "" || strings.ContainsAny(key.Value, "=\x00") {
			d.fail(key, path, "%q cannot be the name of an environment variable", key.Value)
			return
		}
		s, ok := d.text(value, path+"."+key.Value, "text")
		if ok && strings.ContainsRune(s, 0) {
			d.fail(value, path, "the value of %s has a zero byte", key.Value)
			ok = false
		}
		if ok {
			out[key.Value] = s
		}
	})
	v.Set(reflect.ValueOf(out))
}

func (d *decoder) queues(node *yaml.Node, v reflect.Value, path string) {
	var q Queues
	switch node.Kind {
	case yaml.SequenceNode:
		for _, n := range node.Content {
			name, ok := d.text(n, path, "a list of queues")
			if !ok {
				return
			}
			q.List = append(q.List, QueueWeight{Name: name})
		}
	case yaml.MappingNode:
		q.Weighted = true
		d.entries(node, path, func(key, value *yaml.Node) {
			if value = d.resolve(value, path); value == nil {
				return
			}
			weight, err := strconv.Atoi(value.Value)
			if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!int" || err != nil {
				d.wrong(value, path+"."+key.Value, "a weight, which is a whole number")
				return
			}
			q.List = append(q.List, QueueWeight{Name: key.Value, Weight: weight})
		})
	default:
		d.wrong(node, path, "a list such as [ci, mail] or weights such as {ci: 3, mail: 1}")
		return
	}
	v.Set(reflect.ValueOf(q))
}

func (d *decoder) pools(node *yaml.Node) {
	if node.Kind != yaml.SequenceNode {
		d.wrong(node, "pools", "a list of pools")
		return
	}
	d.cfg.Pools = nil
	for i, n := range node.Content {
		d.cfg.Pools = append(d.cfg.Pools, DefaultPool())
		p := &d.cfg.Pools[i]
		if n = d.resolve(n, poolPath(i)); n == nil {
			return
		}
		if n.Kind == yaml.MappingNode {
			// The name first, so that errors about the other keys can call the pool by it.
			d.entries(n, poolPath(i), func(key, value *yaml.Node) {
				if key.Value == "name" && value.Kind == yaml.ScalarNode {
					p.Name = value.Value
				}
			})
		}
		d.mapping(n, reflect.ValueOf(p).Elem(), poolPath(i))
		d.cfg.origins[poolPath(i)] = Origin{FromFile, d.file, n.Line}
	}
}
