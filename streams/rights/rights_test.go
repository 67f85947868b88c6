package rights

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/subjects"
)

func grant(t *testing.T, role Role, shared bool, queues ...subjects.Queue) Grant {
	t.Helper()
	g, err := For(role, queues, shared)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func grants(t *testing.T, shared bool, queues ...subjects.Queue) (all []Grant) {
	for _, role := range Roles() {
		all = append(all, grant(t, role, shared, queues...))
	}
	return all
}

// load has the server read a configuration.
func load(t *testing.T, text string) (*server.Options, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.ProcessConfigFile(file)
}

// The server reads both forms, with the very permissions that were granted, and no line is too long to read.
func TestTheServerReadsIt(t *testing.T) {
	for _, shared := range []bool{false, true} {
		all := grants(t, shared, "ci", "mail", "a-b_c")
		var users string
		for _, g := range all {
			t.Setenv(g.Password(), "averylongpassword1")
			users += "{user: \"" + g.User + "\", password: x, permissions: $" + g.Variable() + "}\n"
		}
		for name, text := range map[string]string{
			"accounts": Accounts(all...), "permissions": Permissions(all...) + "authorization { users: [" + users + "] }",
		} {
			o, err := load(t, text)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			for _, g := range all {
				at := slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == g.User })
				if at < 0 {
					t.Fatalf("%s: no user %s", name, g.User)
				}
				p := o.Users[at].Permissions
				if !slices.Equal(p.Publish.Allow, g.Publish.Allow) || !slices.Equal(p.Publish.Deny, g.Publish.Deny) || !slices.Equal(p.Subscribe.Allow, g.Subscribe.Allow) {
					t.Errorf("%s: %s has %+v, %+v", name, g.User, p.Publish, p.Subscribe)
				}
				if name == "accounts" && o.Users[at].Account.Name != g.Account {
					t.Errorf("%s is in account %s", g.User, o.Users[at].Account.Name)
				}
			}
			for line := range strings.Lines(text) {
				if len(line) > width+2 && strings.HasPrefix(line, "    ") && !strings.Contains(line, "#") && !strings.Contains(line, "subscribe") && !strings.Contains(line, "publish:") {
					t.Errorf("%s: a line of %d bytes: %s", name, len(line), line)
				}
			}
		}
	}
	if _, err := load(t, Accounts(grant(t, Operator, false))); err == nil {
		t.Error("a server without the password in its environment starts")
	}
}

// Nothing is granted that is denied, none of another queue, and a queue's rights do not depend on its neighbours.
func TestGrants(t *testing.T) {
	for _, role := range Roles() {
		one, two := grant(t, role, false, "ci"), grant(t, role, false, "ci", "mail")
		for _, s := range one.Publish.Allow {
			if !slices.Contains(two.Publish.Allow, s) {
				t.Errorf("%s of two queues lacks %s", role, s)
			}
			if slices.Contains(one.Publish.Deny, s) {
				t.Errorf("%s: %s is granted and denied", role, s)
			}
			if strings.Contains(s, "mail") {
				t.Errorf("%s of ci may %s", role, s)
			}
		}
		if len(slices.Compact(slices.Sorted(slices.Values(one.Publish.Allow)))) != len(one.Publish.Allow) {
			t.Errorf("%s: a subject twice", role)
		}
	}
	if g := grant(t, Publisher, true, "ci"); g.Account != StreamsAccount || len(g.Services) > 0 {
		t.Errorf("%+v", g)
	}
	for name, f := range map[string]func() error{
		"unknown role": func() error { _, err := ParseRole("wroker"); return err },
		"no queue":     func() error { _, err := For(Worker, nil, false); return err },
		"bad queue":    func() error { _, err := For(Worker, []subjects.Queue{"A"}, false); return err },
		"twice":        func() error { _, err := For(Worker, []subjects.Queue{"a", "a"}, false); return err },
		"no role":      func() error { _, err := For("x", []subjects.Queue{"a"}, false); return err },
	} {
		err := f()
		var p *problem.Error
		if !errors.As(err, &p) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// By a leaf node the subjects of requests and of keys that are written have the domain's prefix, and nothing else changes.
func TestInADomain(t *testing.T) {
	for _, here := range grants(t, true, "ci") {
		there := here.In("hub")
		if len(there.Publish.Allow) != len(here.Publish.Allow) || !slices.Equal(there.Subscribe.Allow, here.Subscribe.Allow) {
			t.Errorf("%+v", there)
		}
		for i, s := range append(slices.Clone(here.Publish.Allow), here.Publish.Deny...) {
			moved := append(slices.Clone(there.Publish.Allow), there.Publish.Deny...)[i]
			want := s
			if rest, is := strings.CutPrefix(s, "$JS.API."); is {
				want = "$JS.hub.API." + rest
			} else if strings.HasPrefix(s, "$KV.") {
				want = "$JS.hub.API." + s
			}
			if moved != want {
				t.Errorf("%s became %s", s, moved)
			}
		}
		if text := Permissions(there); strings.Contains(text, `"$JS.API.`) || strings.Contains(text, `"$KV.`) {
			t.Error(text)
		}
		if same := here.In(""); !slices.Equal(same.Publish.Allow, here.Publish.Allow) {
			t.Errorf("%+v", same)
		}
	}
}
