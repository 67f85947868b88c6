package subjects

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/internal/problem"
)

// codings are ids and their one token; they are also the seeds of the fuzz targets.
var codings = []struct{ id, token string }{
	{"123", "123"},
	{"a", "a"},
	{"6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
	{"server/stream.go", "server/stream%2Ego"},
	{"100%", "100%25"},
	{"%2E", "%252E"},
	{"a b", "a%20b"},
	{"*", "%2A"},
	{">", "%3E"},
	{"..", "%2E%2E"},
	{"a\tb\nc\rd\x00e\x7F", "a%09b%0Ac%0Dd%00e%7F"},
	{"$SYS", "$SYS"},
	{"=3D", "=3D"},
	{"été", "été"},
	{"日本", "日本"},
	{"🚂", "🚂"},
	{"e\u0301", "e\u0301"}, // no normalisation: this is another id than é
	{"\u00A0", "%C2%A0"},   // no-break space
	{"\u0085x", "%C2%85x"}, // next line: control and white space
	{"\u3000", "%E3%80%80"},
	{"\u2028\u2029", "%E2%80%A8%E2%80%A9"},
	{"\u200B", "\u200B"}, // zero width space is a format character, neither white space nor control
	{"\uFFFD", "\uFFFD"}, // a real replacement character is UTF-8 like any other
	{strings.Repeat("x", 256), strings.Repeat("x", 256)},
	{strings.Repeat(".", 256), strings.Repeat("%2E", 256)},
}

func TestEncodeAndDecode(t *testing.T) {
	for _, c := range codings {
		if got, err := EncodeID(c.id); err != nil || got != c.token {
			t.Errorf("EncodeID(%q) = %q, %v; want %q", c.id, got, err, c.token)
		}
		if got, err := DecodeID(c.token); err != nil || got != c.id {
			t.Errorf("DecodeID(%q) = %q, %v; want %q", c.token, got, err, c.id)
		}
	}
}

func TestIDsThatAreNone(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("x", 257), "a\xFFb", "\xC3", "\xED\xA0\x80", "\xC0\xAE"} {
		if got, err := EncodeID(id); !errors.Is(err, ErrEntityID) {
			t.Errorf("EncodeID(%q) = %q, %v", id, got, err)
		}
	}
}

func TestTokensThatAreNotCanonical(t *testing.T) {
	for _, c := range []struct {
		token string
		is    error
		says  string // in the error
		hint  string // in the hint
	}{
		{"a%2eb", ErrEncoding, "upper-case", `"a%2Eb"`},
		{"%c2%A0", ErrEncoding, "upper-case", `"%C2%A0"`},
		{"%41", ErrEncoding, "%41 at byte 0 stands for a character that needs no encoding", `"A"`},
		{"%C3%A9", ErrEncoding, "%C3 at byte 0 stands for", `"é"`},
		{"x%2Fy", ErrEncoding, "%2F at byte 1 stands for", `"x/y"`},
		{"a.b", ErrEncoding, "byte 1 must be encoded", `"a%2Eb"`},
		{"a b", ErrEncoding, "byte 1 must be encoded", `"a%20b"`},
		{"*", ErrEncoding, "byte 0 must be encoded", `"%2A"`},
		{">", ErrEncoding, "byte 0 must be encoded", `"%3E"`},
		{"\u3000", ErrEncoding, "byte 0 must be encoded", `"%E3%80%80"`},
		{"100%", ErrEncoding, "% at byte 3", "%25"},
		{"%2", ErrEncoding, "% at byte 0", "%25"},
		{"%G0", ErrEncoding, "% at byte 0", "%25"},
		{"%%", ErrEncoding, "% at byte 0", "%25"},
		{"", ErrEntityID, "empty", ""},
		{"%FF", ErrEntityID, "not UTF-8", ""},
		{"%C3", ErrEntityID, "not UTF-8", ""},
		{"%C3\xA9", ErrEncoding, "stands for", `"é"`},
		{"\xFF", ErrEntityID, "not UTF-8", ""},
		{strings.Repeat("x", 257), ErrEntityID, "257 bytes", ""},
		{strings.Repeat("x", 5000), ErrEncoding, "more than any id", ""},
	} {
		got, err := DecodeID(c.token)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(problem.Hint(err), c.hint) {
			t.Errorf("DecodeID(%q) = %q, %v (hint %q)", c.token, got, err, problem.Hint(err))
		}
	}
}

// anyID draws ids that are rich in what must be encoded.
func anyID() *rapid.Generator[string] {
	odd := rapid.SampledFrom([]rune("%.*> \t\x00\x7F\u0085\u00A0\u3000éA/0=2Ef"))
	return rapid.StringOfN(rapid.OneOf(odd, rapid.Rune()), 1, 100, MaxIDBytes)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkRoundTrip(t, anyID().Draw(t, "id"))
	})
}

type failer interface{ Fatalf(string, ...any) }

// checkRoundTrip is what must hold for every id that is one.
func checkRoundTrip(t failer, id string) {
	token, err := EncodeID(id)
	if err != nil {
		if utf8.ValidString(id) && len(id) >= 1 && len(id) <= MaxIDBytes {
			t.Fatalf("EncodeID(%q): %v", id, err)
		}
		return
	}
	checkToken(t, token)
	if back, err := DecodeID(token); err != nil || back != id {
		t.Fatalf("DecodeID(EncodeID(%q)) = %q, %v", id, back, err)
	}
	e := Entity{"t-1_X", id}
	if back, err := ParseKey(e.Key()); err != nil || back != e {
		t.Fatalf("ParseKey(%q) = %v, %v", e.Key(), back, err)
	}
	if back, err := ParseEntity(e.String()); err != nil || back != e {
		t.Fatalf("ParseEntity(%q) = %v, %v", e, back, err)
	}
	subject := Queue("ci").JobSubject(e)
	if _, q, back, err := ParseSubject(subject); err != nil || back != e || q != "ci" {
		t.Fatalf("ParseSubject(%q) = %v, %v", subject, back, err)
	}
	if lane, ok := LaneOf(subject); !ok || lane != e.Token() {
		t.Fatalf("LaneOf(%q) = %q, %v", subject, lane, ok)
	}
}

// checkToken is what NATS asks of one token.
func checkToken(t failer, token string) {
	for _, r := range token {
		if strings.ContainsRune(".*>", r) || unicode.IsSpace(r) || unicode.IsControl(r) {
			t.Fatalf("token %q holds %q", token, r)
		}
	}
	if token == "" || !utf8.ValidString(token) {
		t.Fatalf("token %q is empty or not UTF-8", token)
	}
}

func FuzzEncodeID(f *testing.F) {
	for _, c := range codings {
		f.Add(c.id)
	}
	f.Add("")
	f.Add("a\xFF")
	f.Fuzz(func(t *testing.T, id string) { checkRoundTrip(t, id) })
}

// Exactly one encoding per id: whatever decodes is what encoding its id gives.
func FuzzDecodeID(f *testing.F) {
	for _, c := range codings {
		f.Add(c.token)
	}
	for _, s := range []string{"%2e", "%41", "%", "%zz", "%FF", "a.b", "\u3000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := DecodeID(token)
		if err != nil {
			return
		}
		checkToken(t, token)
		if again, err := EncodeID(id); err != nil || again != token {
			t.Fatalf("%q decodes to %q, which encodes to %q, %v", token, id, again, err)
		}
	})
}

func TestNoAllocationWithoutEncoding(t *testing.T) {
	const id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	for name, f := range map[string]func(){
		"EncodeID": func() { _, _ = EncodeID(id) },
		"DecodeID": func() { _, _ = DecodeID(id) },
		"LaneOf":   func() { _, _ = LaneOf("jobs.ci.build." + id) },
		"parse":    func() { _, _, _, _ = ParseSubject("jobs.ci.build.6ba7b810-9dad-11d1-80b4-00c04fd430c8") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkEncodeID(b *testing.B) {
	for name, id := range map[string]string{"plain": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "path": "server/stream_test.go", "wide": "日本語の名前"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = EncodeID(id)
			}
		})
	}
}

func BenchmarkDecodeID(b *testing.B) {
	for name, token := range map[string]string{"plain": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "path": "server/stream_test%2Ego"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = DecodeID(token)
			}
		})
	}
}

func BenchmarkParseSubject(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _, _, _ = ParseSubject("jobs.ci.build.123")
	}
}

func BenchmarkJobSubject(b *testing.B) {
	e := Entity{"build", "123"}
	b.ReportAllocs()
	for b.Loop() {
		_ = Queue("ci").JobSubject(e)
	}
}
