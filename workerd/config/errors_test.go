package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each file testdata/errors/NAME.yaml has its errors in NAME.txt. A first line `# env A=b C=d` sets the environment,
// `# flags …` the command line.
func TestGoldenErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{File: filepath.Base(file), Data: data}
			var args []string
			for line := range strings.Lines(string(data)) {
				if rest, ok := strings.CutPrefix(line, "# env "); ok {
					in.Env = strings.Fields(rest)
				}
				if rest, ok := strings.CutPrefix(line, "# flags "); ok {
					args = strings.Fields(rest)
				}
				if rest, ok := strings.CutPrefix(line, "# command "); ok {
					in.Command = strings.Fields(rest)
				}
			}
			_, err = load(t, in, args...)
			if err == nil {
				t.Fatal("loaded")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
