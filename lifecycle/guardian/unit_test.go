package guardian

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/internal/problem"
)

func TestOverdue(t *testing.T) {
	const s = time.Second
	groups := []wireGroup{{PID: 1, Until: 100 * s}, {PID: 2, Until: 50 * s}, {PID: 3}}
	for name, c := range map[string]struct {
		k      *knowledge
		now    time.Duration
		engine bool
		late   time.Duration
		pids   []int
	}{
		"nothing is known":               {&knowledge{}, 1000 * s, false, 0, nil},
		"in time":                        {watched(80*s, groups), 49 * s, false, 0, nil},
		"a group, but the engine's turn": {watched(80*s, groups), 50*s + Slack - 1, false, 0, nil},
		"a group":                        {watched(80*s, groups), 50*s + Slack, false, Slack, []int{2}},
		"the session, the engine's turn": {watched(60*s, groups), 60*s + Slack - 1, false, 10*s + Slack - 1, []int{2}},
		"the session":                    {watched(60*s, groups), 60*s + Slack, true, Slack, nil},
		"no session, nothing runs":       {watched(0, nil), 1000 * s, false, 990 * s, nil},
		"no session, the engine's turn":  {watched(0, groups), 10*s + Slack - 1, false, 0, nil},
		"no session, and something runs": {watched(0, groups), 10*s + Slack, false, Slack, []int{1, 2, 3}},
		"a group without a claim's end":  {watched(1000*s, groups[2:]), 999 * s, false, 0, nil},
	} {
		engine, late, over := c.k.overdue(c.now)
		var pids []int
		for _, g := range over {
			pids = append(pids, g.PID)
		}
		if engine != c.engine || late != c.late || !slices.Equal(pids, c.pids) {
			t.Errorf("%s: engine %v, late %v, groups %v", name, engine, late, pids)
		}
	}
}

// watched is what is known after a watch that came at 10 s.
func watched(session time.Duration, groups []wireGroup) *knowledge {
	return &knowledge{known: true, at: 10 * time.Second, watch: wireWatch{Session: session, Groups: groups}}
}

func TestKilledGroupsAreForgotten(t *testing.T) {
	k := watched(0, []wireGroup{{PID: 1}, {PID: 2}, {PID: 3}})
	k.forget([]wireGroup{{PID: 1}, {PID: 3}})
	if _, _, left := k.overdue(time.Hour); len(left) != 1 || left[0].PID != 2 {
		t.Errorf("left are %v", left)
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	for i, want := range []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second} {
		if wait, again := b.died(time.Duration(i)*time.Second, 9*time.Second); wait != want || !again {
			t.Errorf("death %d: %v, %v", i+1, wait, again)
		}
	}
	if _, again := b.died(59*time.Second, time.Hour); again {
		t.Error("five deaths in a minute were not enough")
	}
	b = backoff{}
	for i := range 100 {
		if wait, again := b.died(time.Duration(i)*16*time.Second, 16*time.Second); !again || wait != 0 {
			t.Fatalf("death %d after long lives: %v, %v", i+1, wait, again)
		}
	}
}

func TestMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		bodies := rapid.SliceOfN(rapid.StringMatching(`[a-z"\n ]{0,200}`), 0, 5).Draw(t, "bodies")
		for i, body := range bodies {
			stream = append(stream, encode(byte('A'+i), body)...)
		}
		// A process may have died while it wrote.
		cut := rapid.IntRange(0, len(stream)).Draw(t, "cut")
		r := bufio.NewReaderSize(bytes.NewReader(stream[:cut]), 16)
		whole := bytes.Count(stream[:cut], []byte("\n"))
		for i := range whole {
			kind, body, err := readMessage(r)
			if err != nil || kind != byte('A'+i) || string(body) != string(bytes.TrimSuffix(encode('x', bodies[i])[1:], []byte("\n"))) {
				t.Fatalf("message %d of %d: %c %q %v", i, whole, kind, body, err)
			}
		}
		if _, _, err := readMessage(r); !errors.Is(err, io.EOF) {
			t.Fatalf("what was cut off is told as %v", err)
		}
	})
}

func TestAMessageThatIsTooLongIsPassedOver(t *testing.T) {
	text := "H" + strings.Repeat("x", longest+1) + "\n\nL{}\n"
	kind, body, err := readMessage(bufio.NewReader(strings.NewReader(text)))
	if kind != 'L' || string(body) != "{}" || err != nil {
		t.Errorf("%c %q %v", kind, body, err)
	}
}

func TestWithoutAGuardian(t *testing.T) {
	l, ok, err := Attach()
	if l != nil || ok || err != nil {
		t.Fatalf("%v, %v, %v", l, ok, err)
	}
	l.Listening()
	l.Watch(Deadlines{})
	l.Note(Held{})
	l.Leave(0)
	if _, _, ok := l.Predecessor(); ok || l.Lost() != nil || l.Instance() != "" || l.PID() <= 0 {
		t.Error("nobody is not nobody")
	}
}

// processes is a process table.
type processes map[int]struct {
	ppid int
	line []string
	deaf bool
}

func (p processes) parent(pid int) int    { return p[pid].ppid }
func (p processes) args(pid int) []string { return p[pid].line }
func (p processes) hearsTerm(pid int) (hears, known bool) {
	_, known = p[pid]
	return !p[pid].deaf, known
}

func TestWhoSwallowsSignals(t *testing.T) {
	type row = struct {
		ppid int
		line []string
		deaf bool
	}
	workerd := []string{"workerd", "--queue", "ci", "--", "./handle.sh"}
	dash := []string{"/bin/sh", "-c", "cd /app && workerd --queue ci -- ./handle.sh"}
	for name, c := range map[string]struct {
		self  int
		table processes
		hint  []string // "": no warning
	}{
		"process 1 itself":         {1, processes{1: row{0, workerd, true}}, nil},
		"under systemd":            {50, processes{1: row{0, []string{"/sbin/init"}, false}, 50: row{1, workerd, false}}, nil},
		"under tini":               {7, processes{1: row{0, []string{"/sbin/tini", "--", "workerd"}, false}, 7: row{1, workerd, false}}, nil},
		"shell form of Dockerfile": {7, processes{1: row{0, dash, true}, 7: row{1, workerd, false}}, []string{`/bin/sh -c 'cd /app && exec workerd --queue`, `["workerd", "--queue", "ci", "--", "./handle.sh"]`}},
		"a shell under tini":       {9, processes{1: row{0, []string{"tini"}, false}, 8: row{1, dash, false}, 9: row{8, workerd, false}}, []string{"exec workerd"}},
		"bash -lc":                 {9, processes{8: row{1, []string{"-bash", "-lc", "workerd x"}, false}, 9: row{8, []string{"workerd", "x"}, false}}, []string{"'exec workerd x'"}},
		"an entry point script":    {7, processes{1: row{0, []string{"bash", "/entrypoint.sh"}, true}, 7: row{1, workerd, false}}, []string{"write: exec workerd --queue ci"}},
		"a login shell":            {9, processes{1: row{0, nil, false}, 8: row{1, []string{"-bash"}, false}, 9: row{8, workerd, false}}, nil},
		"make":                     {9, processes{1: row{0, nil, true}, 7: row{1, []string{"sh", "-c", "make demo"}, false}, 8: row{7, []string{"make", "demo"}, false}, 9: row{8, workerd, false}}, nil},
		"another's word in it":     {9, processes{8: row{1, []string{"sh", "-c", "notworkerd; A=1 B=2 env C=3 workerd"}, false}, 9: row{8, []string{"workerd"}, false}}, []string{"notworkerd; A=1 B=2 exec env C=3 workerd"}},
		"under another name":       {9, processes{8: row{1, []string{"sh", "-ec", "$W --x"}, false}, 9: row{8, []string{"workerd"}, false}}, []string{"exec $W --x"}},
		"nothing can be read":      {9, processes{}, nil},
	} {
		err := swallowed(c.self, c.table)
		if (err != nil) != (c.hint != nil) || err != nil && !errors.Is(err, ErrSwallowed) {
			t.Errorf("%s: %v", name, err)
		}
		for _, part := range c.hint {
			if hint := problem.Hint(err); !strings.Contains(hint, part) {
				t.Errorf("%s: the hint is %q, without %q", name, hint, part)
			}
		}
	}
}

func ExampleErrSwallowed() {
	table := processes{1: {line: []string{"/bin/sh", "-c", "workerd --queue ci"}}, 7: {ppid: 1, line: []string{"workerd", "--queue", "ci"}}}
	fmt.Println(problem.Hint(swallowed(7, table)))
	// Output: let the shell be replaced: /bin/sh -c 'exec workerd --queue ci', in a Dockerfile CMD ["workerd", "--queue", "ci"]
}
