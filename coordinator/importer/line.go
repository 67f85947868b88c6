package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/seriatim/seriatim/internal/nearest"
)

// Line is one job as a line of the file describes it.
type Line struct {
	Entity, Kind, ID, Timeout string
	MaxAttempts               int
	// Data is the body: a JSON string's text, or anything else as the JSON that stood there.
	Data    []byte
	Headers map[string]string
}

var keys = []string{"entity", "kind", "id", "data", "timeout", "max_attempts", "headers"}

// ParseLine reads one JSON object. Keys are exact; an unknown one, one given twice, a wrong type and text that is not
// UTF-8 are errors: what would be guessed here runs later, far away. It does not look at what the values mean.
func ParseLine(text []byte) (Line, error) {
	var l Line
	if !utf8.Valid(text) {
		return l, errors.New("the line is not valid UTF-8")
	}
	if !json.Valid(text) {
		return l, syntax(text)
	}
	seen := 0
	err := members(text, func(key string, value []byte) error {
		bit := 0
		for i, k := range keys {
			if k == key {
				bit = 1 << i
			}
		}
		if bit == 0 {
			return fmt.Errorf("unknown key %q%s", key, nearest.Hint(key, keys))
		}
		if seen&bit != 0 {
			return fmt.Errorf("key %q is given twice", key)
		}
		seen |= bit
		return l.set(key, value)
	})
	if err == nil && seen&1 == 0 {
		err = errors.New(`key "entity" is missing`)
	}
	return l, err
}

func (l *Line) set(key string, value []byte) (err error) {
	switch key {
	case "data":
		if value[0] != '"' {
			l.Data = value
			return nil
		}
		s, err := unquote(value)
		l.Data = []byte(s)
		return wrap(key, err)
	case "max_attempts":
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil || n < 1 {
			return fmt.Errorf(`"max_attempts" must be a whole number above 0, not %s`, brief(value))
		}
		l.MaxAttempts = int(n)
		return nil
	case "headers":
		l.Headers = map[string]string{}
		if value[0] != '{' {
			return fmt.Errorf(`"headers" must be an object of texts, not %s`, brief(value))
		}
		return members(value, func(name string, v []byte) error {
			if _, twice := l.Headers[name]; twice {
				return fmt.Errorf("header %q is given twice", name)
			}
			l.Headers[name], err = text("headers."+name, v)
			return err
		})
	}
	s, err := text(key, value)
	switch key {
	case "entity":
		l.Entity = s
	case "kind":
		l.Kind = s
	case "id":
		l.ID = s
	case "timeout":
		l.Timeout = s
	}
	return err
}

func text(key string, value []byte) (string, error) {
	if value[0] != '"' {
		return "", fmt.Errorf("%q must be a text in quotes, not %s", key, brief(value))
	}
	s, err := unquote(value)
	return s, wrap(key, err)
}

func wrap(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%q: %w", key, err)
}

// unquote reads a valid JSON string. Half of a surrogate pair is refused: encoding/json would replace it silently.
func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", err
	}
	if i := loneSurrogate(quoted); i >= 0 {
		return "", fmt.Errorf("%s is half of a surrogate pair", quoted[i:i+6])
	}
	return s, nil
}

// loneSurrogate returns where in a valid JSON string a \ud800…\udfff without its other half stands, or -1.
func loneSurrogate(quoted []byte) int {
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		if quoted[i+1] != 'u' {
			i++
			continue
		}
		switch v := hex(quoted[i+2:]); {
		case v >= 0xd800 && v < 0xdc00:
			next := quoted[i+6:]
			if len(next) < 6 || next[0] != '\\' || next[1] != 'u' || hex(next[2:]) < 0xdc00 || hex(next[2:]) > 0xdfff {
				return i
			}
			i += 11
		case v >= 0xdc00 && v <= 0xdfff:
			return i
		default:
			i += 5
		}
	}
	return -1
}

func hex(b []byte) uint64 {
	v, _ := strconv.ParseUint(string(b[:4]), 16, 32)
	return v
}

// syntax says what is wrong with a line that is not JSON.
func syntax(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return errors.New("not JSON")
}

// members visits the members of an object. text must be valid JSON; values come without white space around them and
// share its memory.
func members(text []byte, visit func(key string, value []byte) error) error {
	i := space(text, 0)
	if text[i] != '{' {
		return fmt.Errorf("a line must be a JSON object, not %s", brief(text))
	}
	for i = space(text, i+1); text[i] != '}'; {
		end := skip(text, i)
		key, err := unquote(text[i:end])
		if err != nil {
			return err
		}
		i = space(text, space(text, end)+1) // behind the colon
		end = skip(text, i)
		if err := visit(key, text[i:end:end]); err != nil {
			return err
		}
		if i = space(text, end); text[i] == ',' {
			i = space(text, i+1)
		}
	}
	return nil
}

func space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// skip returns where the value that starts at i ends.
func skip(text []byte, i int) int {
	depth := 0
	for ; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of what holds a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return i
}

// brief quotes a value in an error.
func brief(value []byte) string {
	value = bytes.TrimSpace(value)
	if len(value) <= 40 {
		return string(value)
	}
	cut := 40
	for !utf8.RuneStart(value[cut]) {
		cut--
	}
	return string(value[:cut]) + "…"
}
