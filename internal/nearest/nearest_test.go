package nearest

import "testing"

func TestWord(t *testing.T) {
	known := []string{"soft", "hard", "hard_grace", "concurrency", "kinds", "ls", "rm", "info", "shutdown_timeout"}
	for _, c := range []struct{ in, want string }{
		{"sotf", "soft"},
		{"softt", "soft"},
		{"hard-grace", "hard_grace"},
		{"HARD", "hard"},
		{"concurency", "concurrency"},
		{"kind", "kinds"},
		{"conc", "concurrency"},
		{"sl", "ls"},
		{"", ""},
		{"zzzzzz", ""},
		{"xy", ""},
		{"shutdowntimeout", "shutdown_timeout"},
		{"inof", "info"},
	} {
		if got := Word(c.in, known); got != c.want {
			t.Errorf("Word(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := Hint("sotf", known); got != ` (did you mean "soft"?)` {
		t.Error(got)
	}
	if got := Hint("zzzzzz", known); got != "" {
		t.Error(got)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"ab", "ba", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
