package limits

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Every name has a key of its own that the bucket takes, and that no entity's or pause's key can be.
func TestKeys(t *testing.T) {
	for name, key := range map[string]string{
		Queue:              "=limit.queue",
		Kind("archive"):    "=limit.kind=3Aarchive",
		Kind("a.b/ü"):      "=limit.kind=3Aa=2Eb=2F=C3=BC",
		Type("build_2-x"):  "=limit.type=3Abuild_2-x",
		Kind("100% =sure"): "=limit.kind=3A100=25=20=3Dsure",
	} {
		if got := Key(name); got != key {
			t.Errorf("key of %q: %q", name, got)
		}
	}
	for _, key := range []string{
		"", "=limit.", "=limit", "=queue", "build.=3D", "=limit.a:b", "=limit.=4", "=limit.=", "=limit.=4g", "=limit.=41", "=limit.=3a", "limit.queue",
	} {
		if name, ok := ParseKey(key); ok {
			t.Errorf("key %q is taken for that of %q", key, name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 50, 200).Draw(t, "name")
		key := Key(name)
		if got, ok := ParseKey(key); !ok || got != name {
			t.Fatalf("%q became %q, and that %q", name, key, got)
		}
		if i := strings.IndexFunc(key, func(r rune) bool { return !plain(byte(r)) && r != '=' && r != '.' }); i >= 0 {
			t.Fatalf("key %q", key)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		key := keyPrefix + rapid.StringMatching(`[=0-9A-Fa-f.:x]{0,12}`).Draw(t, "key")
		if name, ok := ParseKey(key); ok && Key(name) != key {
			t.Fatalf("%q is a second key of %q", key, name)
		}
	})
}

func TestNames(t *testing.T) {
	if got := Names("build", "archive"); !reflect.DeepEqual(got, []string{"queue", "type:build", "kind:archive"}) {
		t.Error(got)
	}
	if got := Names("build", ""); !reflect.DeepEqual(got, []string{"queue", "type:build"}) {
		t.Error(got)
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Document
		newer bool
		bad   bool
	}{
		{text: ``},
		{text: `{"v":1}`, want: Document{V: 1}},
		{text: `{"v":1,"shares":{"s":2},"wants":{"r":{"n":3,"since":9}},"later":true}`, want: Document{V: 1, Shares: map[string]int{"s": 2}, Wants: map[string]Want{"r": {3, 9}}}},
		{text: `{"v":1,"shares":{"s":-2,"t":0,"u":1},"wants":{"r":{"n":-3}}}`, want: Document{V: 1, Shares: map[string]int{"u": 1}, Wants: map[string]Want{}}},
		{text: `{"v":2,"shares":{"s":2}}`, want: Document{V: 2}, newer: true},
		{text: `{"v":2,"shares":["s"]}`, want: Document{V: 2}, newer: true},
		{text: `{"v":1,"shares":["s"]}`, bad: true},
		{text: `nonsense`, bad: true},
	} {
		got, err := Decode([]byte(c.text))
		if !reflect.DeepEqual(got, c.want) || errors.Is(err, ErrNewer) != c.newer || (err != nil) != (c.newer || c.bad) {
			t.Errorf("%s: %+v, %v", c.text, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Document{
			V:      version,
			Shares: rapid.MapOfN(rapid.String(), rapid.IntRange(1, 99), 1, 9).Draw(t, "shares"),
			Wants: rapid.MapOfN(rapid.String(), rapid.Custom(func(t *rapid.T) Want {
				return Want{N: rapid.IntRange(1, 9).Draw(t, "n"), Since: rapid.Uint64().Draw(t, "since")}
			}), 1, 9).Draw(t, "wants"),
		}
		if got, err := Decode(d.Encode()); err != nil || !reflect.DeepEqual(got, d) {
			t.Fatalf("%+v became %+v, %v", d, got, err)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		d, _ := Decode(rapid.SliceOf(rapid.Byte()).Draw(t, "anything"))
		if d.sum(func(string) bool { return false }) < 0 {
			t.Fatal("less than nothing is taken")
		}
	})
}

// The next permit goes to who has the least, then to who has waited longest; never to who is over, or to oneself.
func TestHungriest(t *testing.T) {
	d := Document{
		Shares: map[string]int{"a": 2, "b": 1, "c": 1, "dead": 0},
		Wants:  map[string]Want{"a": {1, 1}, "b": {1, 7}, "c": {1, 5}, "dead": {1, 1}, "me": {1, 1}},
	}
	dead := func(s string) bool { return s == "dead" }
	for _, want := range []string{"c", "b", "a", ""} {
		got := d.hungriest("me", dead)
		if got != want {
			t.Fatalf("%q comes before %q", got, want)
		}
		delete(d.Wants, got)
	}
}
