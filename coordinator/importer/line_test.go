package importer

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseLine(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Line
		err  string
	}{
		{in: `{"entity":"build.1"}`, want: Line{Entity: "build.1"}},
		{in: ` { "entity" : "build.1" , "data" : "a\nb" } `, want: Line{Entity: "build.1", Data: []byte("a\nb")}},
		{
			in:   `{"entity":"b.1","kind":"k","id":"i","timeout":"90s","max_attempts":3,"headers":{"A":"b","C":"d"},"data":{"x": [1, "}"]}}`,
			want: Line{Entity: "b.1", Kind: "k", ID: "i", Timeout: "90s", MaxAttempts: 3, Headers: map[string]string{"A": "b", "C": "d"}, Data: []byte(`{"x": [1, "}"]}`)},
		},
		{in: `{"entity":"b.1","data":null}`, want: Line{Entity: "b.1", Data: []byte("null")}},
		{in: `{"entity":"b.1","data":12.5}`, want: Line{Entity: "b.1", Data: []byte("12.5")}},
		{in: `{"entity":"b.1","data":true,"headers":{}}`, want: Line{Entity: "b.1", Data: []byte("true"), Headers: map[string]string{}}},
		{in: `{"data":"\ud83d\ude00\\u","entity":"b.é"}`, want: Line{Entity: "b.é", Data: []byte(`😀\u`)}},
		{in: `{"entity":"b.1","data":""}`, want: Line{Entity: "b.1", Data: []byte{}}},
		{in: `{}`, err: `key "entity" is missing`},
		{in: `{"entity":1}`, err: `"entity" must be a text in quotes, not 1`},
		{in: `{"entity":"b.1","knd":"x"}`, err: `unknown key "knd" (did you mean "kind"?)`},
		{in: `{"Entity":"b.1"}`, err: `unknown key "Entity" (did you mean "entity"?)`},
		{in: `{"entity":"b.1","body":1}`, err: `unknown key "body"`},
		{in: `{"entity":"a.1","entity":"b.1"}`, err: `key "entity" is given twice`},
		{in: `{"entity":"a.1","max_attempts":0}`, err: `"max_attempts" must be a whole number above 0, not 0`},
		{in: `{"entity":"a.1","max_attempts":"3"}`, err: `not "3"`},
		{in: `{"entity":"a.1","max_attempts":1.5}`, err: `not 1.5`},
		{in: `{"entity":"a.1","headers":[1]}`, err: `"headers" must be an object of texts, not [1]`},
		{in: `{"entity":"a.1","headers":{"A":1}}`, err: `"headers.A" must be a text in quotes, not 1`},
		{in: `{"entity":"a.1","headers":{"A":"1","A":"2"}}`, err: `header "A" is given twice`},
		{in: `[1]`, err: `a line must be a JSON object, not [1]`},
		{in: `nonsense`, err: `not JSON`},
		{in: `{"entity":"a.1"} {}`, err: `not JSON`},
		{in: "{\"entity\":\"a.\xff\"}", err: `not valid UTF-8`},
		{in: `{"entity":"a.1","data":"\ud83d"}`, err: `"data": \ud83d is half of a surrogate pair`},
		{in: `{"entity":"a.1","data":"\\ud83d \udc00"}`, err: `\udc00 is half of a surrogate pair`},
		{in: `{"entity":"a.1","data":"\ud83dx\u0041\ude00"}`, err: `\ud83d is half`},
		{in: `{"entity":"a.1","max_attempts":"` + strings.Repeat("é", 50) + `"}`, err: `…`},
	} {
		got, err := ParseLine([]byte(c.in))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got error %v, want %s", c.in, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", c.in, got, err)
		}
	}
}

// Whatever encoding/json writes is read back as it was.
func TestParseLineReadsWhatJSONWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Line{
			Entity: rapid.String().Draw(t, "entity"), Kind: rapid.String().Draw(t, "kind"), ID: rapid.String().Draw(t, "id"),
			MaxAttempts: rapid.IntRange(1, 1<<31-1).Draw(t, "max"),
			Headers:     rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "headers"),
		}
		var data any = rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "data")
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		want.Data = raw
		if rapid.Bool().Draw(t, "text") {
			s := rapid.String().Draw(t, "text data")
			data, want.Data = s, []byte(s)
		}
		line, err := json.Marshal(map[string]any{
			"entity": want.Entity, "kind": want.Kind, "id": want.ID, "max_attempts": want.MaxAttempts, "headers": want.Headers, "data": data,
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseLine(line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\ngot  %+v, %v\nwant %+v", line, got, err, want)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"entity":"b.1","kind":"k","data":{"a":[1,"\u00e9"]},"headers":{"a":"b"}}`))
	f.Add([]byte(`{"entity":"\ud83d\ude00","data":-1e9}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseLine(text)
		if err != nil {
			return
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(text, &m) != nil || m["entity"] == nil {
			t.Fatalf("%q was read as %+v", text, l)
		}
	})
}

func BenchmarkParseLine(b *testing.B) {
	line := fmt.Appendf(nil, `{"entity":"build.%d","kind":"archive","id":"job-%d","data":{"ref":"main","sha":"0123456789abcdef"}}`, 12345, 67890)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := ParseLine(line); err != nil {
			b.Fatal(err)
		}
	}
}
