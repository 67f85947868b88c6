package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Size
		err  string
	}{
		{"0", 0, ""},
		{"1500MiB", 1500 << 20, ""},
		{"2GiB", 2 << 30, ""},
		{"1.5GiB", 3 << 29, ""},
		{"2gb", 2e9, ""},
		{"64 KB", 64000, ""},
		{"12B", 12, ""},
		{"3Gi", 3 << 30, ""},
		{"1TiB", 1 << 40, ""},
		{"1500", 0, "no unit: write it as 1500MiB"},
		{"2G", 0, "two things: write 2GiB (1024) or 2GB (1000)"},
		{"-1MiB", 0, "below zero"},
		{"", 0, "is not a size"},
		{"MiB", 0, "is not a size"},
		{"5 parsecs", 0, "unknown unit"},
		{"1e9B", 0, "is not a size"},
		{"99999999TiB", 0, "more than fits"},
		{"NaN", 0, "is not a size"},
		{"0x10MiB", 0, "is not a size"},
		{"0.5B", 0, "less than a byte"},
		{"0.0MiB", 0, ""},
	} {
		got, err := ParseSize(c.in)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, %s", c.in, got, err, c.want, c.err)
		}
	}
	for s, want := range map[Size]string{0: "0", 1500 << 20: "1500MiB", 2 << 30: "2GiB", 1000: "1000B"} {
		if s.String() != want {
			t.Errorf("%d is %s", s, s)
		}
		if back, err := ParseSize(s.String()); err != nil || back != s {
			t.Errorf("%s reads back as %d, %v", s, back, err)
		}
	}
	for s, want := range map[Size]string{2048000000: "1.9GiB", 2 << 30: "2GiB", 512: "512B", 0: "0"} {
		if got := s.Round(); got != want {
			t.Errorf("%d rounds to %s, want %s", s, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		err  string
	}{
		{"0", 0, ""},
		{"25s", 25 * time.Second, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"2d", 48 * time.Hour, ""},
		{"1d12h", 36 * time.Hour, ""},
		{" 250ms ", 250 * time.Millisecond, ""},
		{"25", 0, "no unit: write it as 25s or 25ms"},
		{"soon", 0, "is not a duration"},
		{"-1s", 0, "below zero"},
		{"", 0, "is not a duration"},
		{"1d-2h", 0, "below zero"},
		{"1d+2h", 0, "sign"},
		{"d", 0, "is not a duration"},
		{"65535000d", 0, "is not a duration"},
	} {
		got, err := ParseDuration(c.in)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("ParseDuration(%q) = %s, %v; want %s, %s", c.in, got, err, c.want, c.err)
		}
	}
	for d, want := range map[time.Duration]string{15 * time.Minute: "15m", 2 * time.Hour: "2h", 90 * time.Second: "1m30s", 0: "0s", 10 * time.Minute: "10m"} {
		if got := formatDuration(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}
