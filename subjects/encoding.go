package subjects

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/seriatim/seriatim/internal/problem"
)

// MaxIDBytes is the longest id of an entity, in raw bytes.
const MaxIDBytes = 256

const upperHex = "0123456789ABCDEF"

// EncodeID returns the one token of a subject that stands for id: `%`, `.`, `*`, `>`, white space and control
// characters as %XX, every byte of them, upper-case; all else as it is. An id that needs no encoding is returned
// itself, without allocation. Errors are ErrEntityID: empty, longer than MaxIDBytes, or not UTF-8.
func EncodeID(id string) (string, error) {
	extra, err := checkID(id)
	if err != nil {
		return "", problem.New("encode id "+quote(id), err, "")
	}
	return encode(id, extra), nil
}

// DecodeID is the inverse of EncodeID. Errors are ErrEncoding, with the canonical form where there is one, or
// ErrEntityID when what was encoded is no id.
func DecodeID(token string) (string, error) {
	id, hint, err := decodeID(token)
	if err != nil {
		return "", problem.New("decode id "+quote(token), err, hint)
	}
	return id, nil
}

// checkID tells what is wrong with a raw id, or how many of its bytes need encoding.
func checkID(id string) (extra int, err error) {
	if len(id) == 0 {
		return 0, fmt.Errorf("%w: it is empty", ErrEntityID)
	}
	if len(id) > MaxIDBytes {
		return 0, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrEntityID, len(id), MaxIDBytes)
	}
	for i := 0; i < len(id); {
		if c := id[i]; c < utf8.RuneSelf {
			if special(rune(c)) {
				extra++
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(id[i:])
		if r == utf8.RuneError && size == 1 {
			return 0, fmt.Errorf("%w: byte %d (0x%02X) is not UTF-8", ErrEntityID, i, id[i])
		}
		if special(r) {
			extra += size
		}
		i += size
	}
	return extra, nil
}

// special tells whether a character must be encoded: NATS reads it as something else, or a person could not see it.
func special(r rune) bool {
	switch {
	case r == '%', r == '.', r == '*', r == '>', r <= ' ', r == 0x7F:
		return true
	case r < utf8.RuneSelf:
		return false
	}
	return unicode.IsSpace(r) || unicode.IsControl(r)
}

// encode writes a checked id; extra is the number of bytes that need encoding.
func encode(id string, extra int) string {
	if extra == 0 {
		return id
	}
	out := make([]byte, 0, len(id)+2*extra)
	for i := 0; i < len(id); {
		r, size := utf8.DecodeRuneInString(id[i:])
		if !special(r) {
			out = append(out, id[i:i+size]...)
		} else {
			for _, c := range []byte(id[i : i+size]) {
				out = append(out, '%', upperHex[c>>4], upperHex[c&15])
			}
		}
		i += size
	}
	return string(out)
}

// decodeID reads leniently and then compares with what EncodeID would have written: so there is one definition of
// "canonical", and the error can name the right form.
func decodeID(token string) (id, hint string, err error) {
	if len(token) > 3*MaxIDBytes {
		return "", "", fmt.Errorf("%w: %d bytes are more than any id needs", ErrEncoding, len(token))
	}
	id, err = unescape(token, '%')
	if err != nil {
		return "", "write a literal % as %25", fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	extra, err := checkID(id)
	if err != nil {
		return "", "", err
	}
	if canonical := encode(id, extra); canonical != token {
		return "", fmt.Sprintf("the canonical form of this id is %q", canonical),
			fmt.Errorf("%w: %s", ErrEncoding, difference(token, canonical))
	}
	return id, "", nil
}

// unescape replaces each mark and two hex digits by their byte, in either case of the digits.
func unescape(s string, mark byte) (string, error) {
	first := 0
	for first < len(s) && s[first] != mark {
		first++
	}
	if first == len(s) {
		return s, nil
	}
	out := append(make([]byte, 0, len(s)), s[:first]...)
	for i := first; i < len(s); i++ {
		if s[i] != mark {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
			return "", fmt.Errorf("%c at byte %d is not followed by two hex digits", mark, i)
		}
		out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
		i += 2
	}
	return string(out), nil
}

// unhex is the value of a hex digit, or 255.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// difference says in words where a token leaves its canonical form. The two decode to the same bytes, so at the
// first byte that differs one of them has an escape, or both have and differ in the case of a digit.
func difference(token, canonical string) string {
	i := 0
	for i < len(token) && i < len(canonical) && token[i] == canonical[i] {
		i++
	}
	switch {
	case i < len(token) && token[i] == '%':
		return fmt.Sprintf("%s at byte %d stands for a character that needs no encoding", token[i:i+3], i)
	case i < len(canonical) && canonical[i] == '%':
		return fmt.Sprintf("the character at byte %d must be encoded", i)
	}
	return fmt.Sprintf("the hex digit at byte %d must be upper-case", i)
}
