package lifecycle

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	if got := l.since(0); got != "" {
		t.Fatalf("nothing printed is %q", got)
	}
	l.add([]byte("one\n"))
	mark := l.position()
	l.add([]byte("two\n"))
	l.add([]byte("thr\xffee\n"))
	if got := l.since(0); got != "one\ntwo\nthr?ee\n" {
		t.Fatalf("%q", got)
	}
	if got := l.since(mark); got != "two\nthr?ee\n" {
		t.Fatalf("%q", got)
	}
	if got := l.since(l.position()); got != "" {
		t.Fatalf("%q", got)
	}
	for range 10_000 {
		l.add([]byte("0123456789\n"))
	}
	got := l.since(mark)
	if len(got) > MaxLog || len(got) < MaxLog/2 || !strings.HasPrefix(got, "…\n0123456789\n") || !strings.HasSuffix(got, "\n0123456789\n") {
		t.Fatalf("%d bytes: %.40q", len(got), got)
	}
	l.add([]byte(strings.Repeat("ä", MaxLog)))
	if got := l.since(mark); !strings.HasPrefix(got, "…\nää") || len(got) > MaxLog || !utf8.ValidString(got) {
		t.Fatalf("%.20q", got)
	}
}

func TestTailIsTheEndOfWhatWasPrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l tail
		var all string
		var mark int64
		from := 0
		for range rapid.IntRange(0, 20).Draw(t, "pieces") {
			if rapid.IntRange(0, 4).Draw(t, "mark") == 0 {
				mark, from = l.position(), len(all)
			}
			piece := strings.Repeat(rapid.SampledFrom([]string{"a", "ü", "line\n", "\n", "€uro "}).Draw(t, "text"), rapid.IntRange(0, 3000).Draw(t, "times"))
			l.add([]byte(piece))
			all += piece
		}
		got, want := l.since(mark), all[from:]
		switch {
		case len(want) <= MaxLog && got != want:
			t.Fatalf("%d bytes, want all %d", len(got), len(want))
		case len(got) > MaxLog, !utf8.ValidString(got):
			t.Fatalf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		case len(want) > MaxLog:
			if rest, ok := strings.CutPrefix(got, omitted); !ok || rest == "" || !strings.HasSuffix(want, rest) {
				t.Fatalf("%.40q is not the end of %d bytes", got, len(want))
			}
		}
	})
}

// Who waits in vain for what was read to be handed on is the only one that waits, until more of it is.
func TestAWaitInVainIsOne(t *testing.T) {
	var m meter
	m.consumed = 5
	closed := make(chan struct{})
	close(closed)
	m.wait(5, closed)
	m.wait(5, nil) // or for ever
	m.caughtUp()
	m.consumed = 9
	in, waiting := make(chan struct{}), make(chan struct{})
	go func() { m.wait(9, in); close(waiting) }()
	select {
	case <-waiting:
		t.Error("nobody waits any more")
	case <-time.After(50 * time.Millisecond):
	}
	m.caughtUp()
	<-waiting
}
