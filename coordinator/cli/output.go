package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// object prints one JSON value, indented, for scripts and for eyes.
func (a *App) object(v any) error {
	enc := json.NewEncoder(a.Stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// rows prints a list: with --json as an array (never null), else as a table, or as a sentence when it is empty.
func rows[T any](a *App, list []T, empty string, header []string, row func(T) []any) error {
	if a.json {
		if list == nil {
			list = []T{}
		}
		return a.object(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.Stderr, empty)
		return nil
	}
	cells := make([][]any, len(list))
	for i, v := range list {
		cells[i] = row(v)
	}
	a.table(header, cells)
	return nil
}

// table prints columns without lines around them, as kubectl does; numbers stand to the right.
func (a *App) table(header []string, cells [][]any) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	head := make(table.Row, len(header))
	for i, h := range header {
		head[i] = h
	}
	t.AppendHeader(head)
	for _, row := range cells {
		out := make(table.Row, len(row))
		for i, c := range row {
			if s, ok := c.(string); ok {
				c = oneLine(s)
			}
			out[i] = c
		}
		t.AppendRow(out)
	}
	for line := range strings.Lines(t.Render()) {
		fmt.Fprintln(a.Stdout, strings.TrimRightFunc(line, unicode.IsSpace))
	}
}

// fact is a line of a description.
type fact struct {
	name  string
	value any
}

// facts prints names and values under one another; empty values are left out.
func (a *App) facts(list []fact) {
	width := 0
	for _, f := range list {
		width = max(width, utf8.RuneCountInString(f.name))
	}
	for _, f := range list {
		value := oneLine(fmt.Sprint(f.value))
		if value == "" {
			continue
		}
		fmt.Fprintf(a.Stdout, "%*s  %s\n", width, f.name, value)
	}
}

// oneLine keeps what others wrote (job errors, ids, bodies) from moving the cursor or breaking a table.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("⏎")
		case r == '\t':
			b.WriteByte(' ')
		case unicode.IsControl(r):
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// shorten cuts a text to n runes.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// age is how long ago t was: 4s, 3m, 2h5m, 3d.
func (a *App) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(a.Now().Sub(t))
}

func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// seconds is an age in seconds; none is shown as nothing.
func seconds(age float64) string {
	if age <= 0 {
		return ""
	}
	return span(time.Duration(age * float64(time.Second)))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// limit shows a bound of which 0 or less means none.
func limit(n int64) string {
	if n <= 0 {
		return "none"
	}
	return humanize.Comma(n)
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// confirm asks before something is destroyed. Without a terminal it takes --force to go on.
func (a *App) confirm(format string, args ...any) error {
	if a.force {
		return nil
	}
	question := fmt.Sprintf(format, args...)
	if !a.Asks {
		return usagef("--force does it without asking", "%s There is no terminal to ask on, so nothing was done", question)
	}
	fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(a.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return &said{fmt.Errorf("not confirmed: nothing was done"), ""}
}
