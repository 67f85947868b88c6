package history

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/subjects"
)

func all(t *testing.T) []Op {
	t.Helper()
	ops, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestTheHistoryIsWhatTheReadmeSays(t *testing.T) {
	ops := all(t)
	entities := map[string]bool{}
	for i, op := range ops {
		if op.N != i+1 {
			t.Fatalf("operation %d has the number %d", i+1, op.N)
		}
		entities[op.Entity()] = true
		if e, err := subjects.ParseEntity(op.Entity()); err != nil || e.ID != op.Path {
			t.Fatalf("%q is no entity: %v", op.Entity(), err)
		}
	}
	if len(ops) != 20003 || len(entities) != 1374 || len(Final(ops)) != 605 || len(Expected(ops)) != 20003 {
		t.Errorf("%d operations, %d entities, %d files", len(ops), len(entities), len(Final(ops)))
	}
}

func TestLoadRefusesWhatDoesNotFit(t *testing.T) {
	const a, b = "00000000000000aa", "00000000000000bb"
	add := "1\tA\t" + None + "\t" + a + "\tx\n"
	for name, c := range map[string]struct {
		text string
		says string
	}{
		"fits":             {add + "2\tM\t" + a + "\t" + b + "\tx\n3\tD\t" + b + "\t" + None + "\tx\n4\tA\t" + None + "\t" + a + "\tx\n", ""},
		"columns":          {add + "2\tM\t" + a + "\n", "line 2"},
		"commit":           {"x" + add, "line 1"},
		"hash":             {"1\tA\t" + None + "\txyz\tx\n", "no hash"},
		"long hash":        {"1\tA\t" + None + "\t0" + a + "\tx\n", "no hash"},
		"wrong old":        {add + "2\tM\t" + b + "\t" + a + "\tx\n", "at " + a + ", not at " + b},
		"added twice":      {add + add, "line 2"},
		"changes nothing":  {"1\tM\t" + a + "\t" + b + "\tx\n", "line 1"},
		"wrong operation":  {strings.Replace(add, "A", "M", 1), `operation "M"`},
		"no such thing":    {"1\tD\t" + None + "\t" + None + "\tx\n", `operation "D"`},
		"no path":          {"1\tA\t" + None + "\t" + a + "\t\n", "no path"},
		"deleted too soon": {"1\tD\t" + a + "\t" + None + "\tx\n", "line 1"},
	} {
		ops, err := Load(compressed(c.text))
		if c.says == "" {
			if err != nil || len(ops) != 4 {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(strings.NewReader("not compressed")); err == nil {
		t.Error("plain text was loaded")
	}
	if _, err := Load(bytes.NewReader(embedded[:1000])); err == nil {
		t.Error("half a history was loaded")
	}
}

func compressed(text string) *bytes.Buffer {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return &out
}

func TestWriteImport(t *testing.T) {
	ops := all(t)
	var out bytes.Buffer
	if err := WriteImport(&out, ops, 20); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	const first = `{"entity":"file..gitignore","kind":"apply","id":"h-1","data":{"n":1,"op":"A","old":"0000000000000000","new":"00268614f0456760"}}`
	if len(lines) != len(ops) || lines[0] != first {
		t.Fatalf("%d lines, first %s", len(lines), lines[0])
	}
	kinds := map[string]int{}
	for i, line := range lines {
		var l struct {
			Entity, Kind, ID string
			Data             Change
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Entity != ops[i].Entity() || l.Data.N != i+1 {
			t.Fatalf("%s: %v", line, err)
		}
		kinds[l.Kind]++
	}
	if kinds["shell"] != len(ops)/20 || kinds["apply"] != len(ops)-len(ops)/20 {
		t.Errorf("%v", kinds)
	}
	out.Reset()
	if err := WriteImport(&out, ops[:40], 0); err != nil || strings.Contains(out.String(), "shell") {
		t.Errorf("%v, %s", err, out.String())
	}
}
