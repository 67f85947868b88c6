// Package nearest finds the known word that a mistyped one was meant to be. Every place that refuses an unknown
// key, command or flag names it, so that the next try is right. Pure; any goroutine.
package nearest

import "strings"

// Word returns the known word that is closest to word, or "" when none is close enough to be a likely slip: at most
// a third of its letters (and at least two) may differ. Case and the choice between `-` and `_` do not count. Of
// equally close words the first one is taken.
func Word(word string, known []string) string {
	w := fold(word)
	if w == "" || len(w) > 128 { // nobody mistypes that; and the distance costs the product of both lengths
		return ""
	}
	best, bestDistance := "", -1
	for _, k := range known {
		f := fold(k)
		limit := max(2, len(f)/3)
		if len(f) <= 2 {
			limit = 1
		}
		d := distance(w, f)
		// A prefix is what people type who remember half of it.
		if d > limit && len(w) >= 3 && strings.HasPrefix(f, w) {
			d = limit
		}
		if d <= limit && (bestDistance < 0 || d < bestDistance) {
			best, bestDistance = k, d
		}
	}
	return best
}

// Hint is Word as the end of a sentence: ` (did you mean "soft"?)`, or "".
func Hint(word string, known []string) string {
	if n := Word(word, known); n != "" {
		return ` (did you mean "` + n + `"?)`
	}
	return ""
}

func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance counts insertions, deletions, replacements and swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
