package schedule

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/internal/problem"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func times(t testing.TB, s Spec) Times {
	t.Helper()
	v, err := s.Times()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The clocks of Europe/Berlin go from 02:00 to 03:00 on 2026-03-29, at 01:00Z, and from 03:00 back to 02:00 on
// 2026-10-25, at 01:00Z.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, cron, zone, after string
		want                    []string
	}{
		{"plain", "30 2 * * *", "", "2026-01-01T00:00:00Z", []string{"2026-01-01T02:30:00Z", "2026-01-02T02:30:00Z"}},
		{"a moment before", "30 2 * * *", "", "2026-01-01T02:29:59.999999999Z", []string{"2026-01-01T02:30:00Z"}},
		{"the moment itself", "30 2 * * *", "", "2026-01-01T02:30:00Z", []string{"2026-01-02T02:30:00Z"}},
		{"six fields", "*/20 0 0 1 1 *", "", "2026-01-01T00:00:19.5Z", []string{"2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z", "2027-01-01T00:00:00Z"}},
		{"word", "@daily", "America/New_York", "2026-01-01T00:00:00Z", []string{"2026-01-01T05:00:00Z"}},
		{"weekdays", "0 9 * * mon-fri", "", "2026-01-02T10:00:00Z", []string{"2026-01-05T09:00:00Z"}},
		{"day of month or of week", "0 0 13 * 5", "", "2026-02-01T00:00:00Z", []string{"2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z"}},
		{"leap day", "0 0 29 2 *", "", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
		{
			"left out: at the change", "30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		},
		{
			"left out, several: once", "0,30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"},
		},
		{
			"twice: the first", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		},
		{"twice, asked between", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"}},
		{
			"every ten minutes: through, back", "*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"},
		},
		{
			"every ten minutes: through, forth", "*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"},
		},
		{
			"every other hour", "0 */2 * * *", "Europe/Berlin", "2026-10-24T23:00:00Z",
			[]string{"2026-10-25T00:00:00Z", "2026-10-25T03:00:00Z"},
		},
		// The day begins at 01:00 there.
		{"midnight that is left out", "0 0 * * *", "America/Asuncion", "2023-09-30T12:00:00Z", []string{"2023-10-01T04:00:00Z", "2023-10-02T03:00:00Z"}},
		// Half an hour.
		{"half a step", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		// A whole day is left out: 2011-12-30.
		{"a day that is left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", []string{"2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Preview(times(t, Spec{Cron: c.cron, TimeZone: c.zone}), at(t, c.after), len(c.want))
			for i, want := range c.want {
				if i >= len(got) || !got[i].Equal(at(t, want)) {
					t.Fatalf("got %v, want %v", got, c.want)
				}
			}
		})
	}
}

func TestIntervalsAndSingleTimes(t *testing.T) {
	start := at(t, "2026-01-01T00:00:00.25Z")
	every := times(t, Spec{Every: Duration(10 * time.Second), Start: start})
	for after, want := range map[string]string{
		"2025-12-31T00:00:00Z": "2026-01-01T00:00:10.25Z", "2026-01-01T00:00:00.25Z": "2026-01-01T00:00:10.25Z",
		"2026-01-01T00:00:10.25Z": "2026-01-01T00:00:20.25Z", "2026-01-01T01:00:00Z": "2026-01-01T01:00:00.25Z",
	} {
		if got, ok := every.Next(at(t, after)); !ok || !got.Equal(at(t, want)) {
			t.Errorf("after %s: %v, want %s", after, got, want)
		}
	}
	for _, longest := range []time.Duration{math.MaxInt64, 200 * 365 * 24 * time.Hour} {
		got := Preview(times(t, Spec{Every: Duration(longest), Start: start}), start, 5)
		if len(got) != 1 || !got[0].Equal(start.Add(longest)) {
			t.Errorf("every %s comes at %v", longest, got)
		}
	}
	one := times(t, Spec{At: start})
	if got := Preview(one, start.Add(-time.Nanosecond), 5); len(got) != 1 || !got[0].Equal(start) {
		t.Error(got)
	}
	if got, ok := one.Next(start); ok || !got.IsZero() {
		t.Error(got)
	}
}

// What is wrong is told with the input and a way out.
func TestSpecsThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		says string
	}{
		{Spec{}, "0 of cron, every and at"},
		{Spec{Cron: "@daily", Every: Duration(time.Hour)}, "2 of cron"},
		{Spec{Cron: "* * * *"}, `"* * * *"`},
		{Spec{Cron: "61 * * * *"}, "above maximum"},
		{Spec{Cron: "x * * * *"}, `"x * * * *"`},
		{Spec{Cron: "*/0 * * * *"}, "step"},
		{Spec{Cron: "5-1 * * * *"}, "range"},
		{Spec{Cron: "TZ=UTC * * * * *"}, "apart"},
		{Spec{Cron: "TZ=0"}, "apart"},
		{Spec{Cron: "CRON_TZ=Asia/Tokyo * * * * *"}, "apart"},
		{Spec{Cron: "@every 5m"}, "interval"},
		{Spec{Cron: "@reboot"}, "@reboot"},
		{Spec{Cron: " "}, "empty"},
		{Spec{Cron: "0 0 30 2 *"}, "never comes true"},
		{Spec{Cron: "@daily", TimeZone: "Europe/Berln"}, `"Europe/Berln"`},
		{Spec{Cron: "@daily", TimeZone: "Local"}, `"Local"`},
		{Spec{Every: Duration(999 * time.Millisecond)}, "less than 1s"},
		{Spec{Every: Duration(-time.Hour)}, "less than 1s"},
		{Spec{Every: Duration(time.Hour), TimeZone: "UTC"}, "does nothing"},
	} {
		_, err := c.spec.Times()
		if !errors.Is(err, ErrSpec) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %s", c.spec, err, c.says)
		}
		if strings.Contains(c.says, `"`) && problem.Hint(err) == "" {
			t.Errorf("%+v: no hint", c.spec)
		}
	}
}

// Whatever the expression, zone and time: the next time is later, is what the clock on the wall shows unless a change
// left that out, and latest finds the last of the times that Next goes through.
func TestNextAndLatestAgree(t *testing.T) {
	zones := []string{"", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Asuncion", "Asia/Kathmandu", "Pacific/Apia", "Africa/Casablanca"}
	crons := []string{"*/7 * * * *", "30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "*/30 */5 * * * *", "0 */6 * * 0", "59 23 31 * *"}
	begin, end := at(t, "2009-01-01T00:00:00Z").Unix(), at(t, "2030-01-01T00:00:00Z").Unix()
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{Cron: rapid.SampledFrom(crons).Draw(t, "cron"), TimeZone: rapid.SampledFrom(zones).Draw(t, "zone")}
		if rapid.Bool().Draw(t, "interval") {
			spec = Spec{Every: Duration(rapid.Int64Range(1, 1e6).Draw(t, "every") * int64(time.Second)), Start: time.Unix(begin, 5)}
		}
		times, err := spec.Times()
		if err != nil {
			t.Fatal(err)
		}
		from := time.Unix(rapid.Int64Range(begin, end).Draw(t, "from"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns"))
		to := from.Add(time.Duration(rapid.Int64Range(0, int64(3*24*time.Hour)).Draw(t, "span")))
		want, wantOK := time.Time{}, false
		for at := from; ; {
			next, ok := times.Next(at)
			if !ok {
				t.Fatalf("no time after %v", at)
			}
			if !next.After(at) {
				t.Fatalf("%v is not after %v", next, at)
			}
			if next.After(to) {
				break
			}
			want, wantOK, at = next, true, next
		}
		if got, ok := latest(times, from, to); ok != wantOK || !got.Equal(want) {
			t.Fatalf("latest is %v %v, want %v %v", got, ok, want, wantOK)
		}
	})
}

// No text brings the parser down.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"* * * * *", "TZ=", "CRON_TZ=0", "@every 1s", "0 0 1,2-3/4 jan ? *", "*/18446744073709551615 * * * *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		times, err := Spec{Cron: text, TimeZone: "Europe/Berlin"}.Times()
		if err != nil {
			return
		}
		now := at(t, "2026-03-29T00:00:00Z")
		if next, ok := times.Next(now); ok && !next.After(now) {
			t.Fatal(next)
		}
	})
}
