package cli

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/coordinator/importer"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// ages are what differs between runs: 3s, 1m2s, and dates.
var ages = regexp.MustCompile(`\b\d+m?\d*s\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`)

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		p     importer.Progress
		total int64
		took  time.Duration
		want  string
	}{
		{importer.Progress{}, 0, 0, "0 jobs  0/s  0s"},
		{importer.Progress{Published: 120000, Duplicates: 1, Read: 50}, 100, 2 * time.Second, "[===============               ]  50%  120,001 jobs  60,000/s  2s"},
		{importer.Progress{Published: 10, Read: 300}, 200, time.Minute, "[==============================] 100%  10 jobs  0/s  1m0s"},
	} {
		if got := progressLine(c.p, c.total, c.took); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 1500 * time.Millisecond: "1s", 62 * time.Second: "1m2s", 125 * time.Minute: "2h5m", 72 * time.Hour: "3d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine("a\nb\tc\x1b[31m\xff"); got != "a⏎b c\ufffd[31m\ufffd" {
		t.Errorf("%q", got)
	}
	if got := shorten("äöüß", 3); got != "äö…" {
		t.Errorf("%q", got)
	}
}

func TestWithUser(t *testing.T) {
	for _, c := range []struct{ servers, user, password, want string }{
		{"", "u", "p", "nats://u:p@127.0.0.1:4222"},
		{"h:1, tls://other@h:2", "u", "p/w", "nats://u:p%2Fw@h:1,tls://other@h:2"},
		{"nats://h", "token", "", "nats://token@h"},
	} {
		if got := withUser(c.servers, c.user, c.password); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestParseBackoff(t *testing.T) {
	for text, want := range map[string]streams.Backoff{
		"2s":           {Base: 2 * time.Second, Max: 10 * time.Minute, Factor: 2, Jitter: .2},
		"1h":           {Base: time.Hour, Max: time.Hour, Factor: 2, Jitter: .2},
		"1s,5s":        {Base: time.Second, Max: 5 * time.Second, Factor: 2, Jitter: .2},
		"1s,5s,1.5, 0": {Base: time.Second, Max: 5 * time.Second, Factor: 1.5, Jitter: 0},
	} {
		p := streams.DefaultPolicy()
		if err := parseBackoff(&p, text); err != nil || p.Backoff != want {
			t.Errorf("%s: %+v, %v", text, p.Backoff, err)
		}
	}
	for _, text := range []string{"", "x", "1s,y", "1s,2s,z", "1s,2s,2,.2,9"} {
		p := streams.DefaultPolicy()
		if err := parseBackoff(&p, text); err == nil || !p.Equal(streams.DefaultPolicy()) {
			t.Errorf("%q: %+v, %v", text, p.Backoff, err)
		}
	}
}

func TestSetLimit(t *testing.T) {
	p := streams.DefaultPolicy()
	for _, text := range []string{"queue=20", "kind:a=b=5", "type:build=1", "queue=7", "type:build=0"} {
		before := p
		if err := setLimit(&p, text); err != nil {
			t.Fatal(text, err)
		}
		if p.Equal(before) {
			t.Fatalf("%s changed nothing, or what it was read from", text)
		}
	}
	if got := streams.LimitsText(p.Limits); got != "kind:a=b=5 queue=7" {
		t.Fatal(got)
	}
	for _, text := range []string{"", "queue", "queue=", "queue=x", "queue=1.5"} {
		if err := setLimit(&p, text); err == nil || streams.LimitsText(p.Limits) != "kind:a=b=5 queue=7" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// run runs a command as a person at a terminal who answers with input.
func run(t *testing.T, a *App, url, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a.Stdin, a.Stdout, a.Stderr, a.Env, a.Now = strings.NewReader(input), &out, &errs, []string{"NATS_URL=" + url}, time.Now
	code = a.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

func TestQuestions(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	url := natstest.Start(t).URL()
	if code, _, errs := run(t, &App{}, url, "", "queue", "add", "ci"); code != 0 {
		t.Fatal(errs)
	}
	if code, _, errs := run(t, &App{}, url, "", "job", "publish", "ci", "build.1"); code != 0 {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		asks   bool
		input  string
		code   int
		stderr string
	}{
		{true, "n\n", 1, "Remove queue ci with 1 unfinished job(s)? [y/N] coordinator: queue rm: not confirmed: nothing was done\n"},
		{true, "", 1, "Remove queue ci with 1 unfinished job(s)? [y/N] coordinator: queue rm: not confirmed: nothing was done\n"},
		{false, "y\n", 2, "coordinator: queue rm: Remove queue ci with 1 unfinished job(s)? There is no terminal to ask on, so nothing was done\nhint: --force does it without asking\n"},
		{true, "y\n", 0, "Remove queue ci with 1 unfinished job(s)? [y/N] "},
	} {
		code, _, errs := run(t, &App{Asks: c.asks}, url, c.input, "queue", "rm", "ci")
		if code != c.code || errs != c.stderr {
			t.Errorf("%+v: exit %d, %q", c, code, errs)
		}
	}
}

func TestRemoving(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	url := natstest.Start(t).URL()
	for _, args := range [][]string{{"queue", "add", "ci"}, {"job", "publish", "ci", "a.1"}, {"job", "publish", "ci", "b.1"}, {"job", "publish", "ci", "a.1"}} {
		if code, _, errs := run(t, &App{}, url, "", args...); code != 0 {
			t.Fatal(errs)
		}
	}
	for _, c := range []struct {
		args   string
		code   int
		stdout string
	}{
		{"job rm ci 1 99 -f", 1, ""}, // a slip removes nothing
		{"job rm ci", 2, ""},
		{"job rm ci 1 --entity a.1", 2, ""},
		{"job rm ci x", 2, ""},
		{"job rm ci 1", 2, ""}, // nobody to ask
		{"queue purge ci", 2, ""},
		{"queue purge nix -f", 1, ""},
		{"job rm ci 3 2 -f --json", 0, "{\n  \"queue\": \"ci\",\n  \"removed\": 2,\n  \"spared\": 0\n}\n"},
		{"job rm ci --entity b.1 -f", 0, "0 job(s) removed\n"},
		{"queue purge ci -f", 0, "1 job(s) removed\n"},
	} {
		code, out, errs := run(t, &App{}, url, "", strings.Fields(c.args)...)
		if code != c.code || out != c.stdout {
			t.Errorf("%s: exit %d, %q, %q", c.args, code, out, errs)
		}
	}
}

func TestProgressIsShownToWhoWatches(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	url := natstest.Start(t).URL()
	if code, _, errs := run(t, &App{}, url, "", "queue", "add", "ci"); code != 0 {
		t.Fatal(errs)
	}
	code, out, errs := run(t, &App{Watches: true}, url, "{\"entity\":\"a.1\"}\n", "job", "import", "ci", "-")
	if code != 0 || !strings.Contains(errs, "\r1 jobs") || !strings.HasSuffix(errs, "\r\x1b[K") || !strings.HasPrefix(out, "published 1 job(s) to ci in ") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

// A queue that only a newer version can read is told, and hides no other.
func TestListWithNewerQueue(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	srv := natstest.Start(t)
	for _, q := range []string{"a", "new", "z"} {
		if code, _, errs := run(t, &App{}, srv.URL(), "", "queue", "add", q); code != 0 {
			t.Fatal(errs)
		}
	}
	js := srv.JetStream()
	s, err := js.Stream(t.Context(), "JOBS_new")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Metadata[streams.MetaSchema] = "99"
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, &App{}, srv.URL(), "", "queue", "ls")
	if code != 1 || !strings.Contains(out, "\na ") || !strings.Contains(out, "\nz ") || strings.Contains(out, "new") || !strings.Contains(errs, "newer Seriatim") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}
