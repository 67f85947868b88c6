package config

import (
	"errors"
	"strings"
	"testing"
)

// A size is shown in a form that reads as the same size.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1500MiB", "2GB", "0", "1.5KiB", "1K", "-1B", "1e3MB", "9223372036854775807B", "0x1pMiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := ParseSize(s)
		if err != nil {
			if len(err.Error()) > 256+16*len(s) {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if size < 0 {
			t.Errorf("%q is %d", s, size)
		}
		if again, err := ParseSize(size.String()); err != nil || again != size {
			t.Errorf("%q is %d, shown as %s, read as %d, %v", s, size, size, again, err)
		}
	})
}

// A duration too.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"25s", "1h30m", "2d", "1d12h", "0", "-1s", "1d+2h", "5", "106751d", "65535d", "2562047h47m16.854775807s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			if len(err.Error()) > 256+16*len(s) {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if d < 0 {
			t.Errorf("%q is %d", s, d)
		}
		if again, err := ParseDuration(formatDuration(d)); err != nil || again != d {
			t.Errorf("%q is %d, shown as %s, read as %d, %v", s, d, formatDuration(d), again, err)
		}
	})
}

// Environment and flags are as harmless as the file: a configuration, or errors that name what is wrong.
func FuzzEnvironment(f *testing.F) {
	f.Add("NATS_URL", "nats://h:4222", "QUEUES", "ci=3,mail=1")
	f.Add("SHUTDOWN_TIMEOUT", "9s", "SHUTDOWN_KILL_AFTER", "soon")
	f.Add("HTTP", ":0", "QUEUE", "ci")
	f.Add("", "", "NATS_TLS_CERT", "a")
	file := []byte("queues: [ci]\npools:\n  - {name: a, kinds: [\"*\"], mode: exec, command: [x]}\n")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		env := []string{"SERIATIM_" + name1 + "=" + value1, "SERIATIM_" + name2 + "=" + value2}
		cfg, err := Load(Input{File: "f", Data: file, Env: env})
		if (cfg == nil) != (err != nil) {
			t.Fatal("a configuration or an error, never both")
		}
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("%T", err)
			}
			for _, e := range errs {
				if strings.TrimSpace(e.Msg) == "" {
					t.Error("an error without words")
				}
			}
			return
		}
		for _, s := range cfg.Settings() {
			if s.Key == "" {
				t.Error("a setting without a key")
			}
		}
	})
}
