package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/examples/history"
	"github.com/seriatim/seriatim/streams/lane"
)

// Every rule has a plan, and an unknown one is told what there is.
func TestPlans(t *testing.T) {
	all, err := history.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range append([]lane.Rule(nil), lane.AllRules()...) {
		p, err := planFor(rule.String())
		if err != nil || p.about == "" || p.faults == nil || p.slots() < 1 || p.lease < 5*time.Second || len(p.ops(all)) == 0 {
			t.Errorf("%s: %+v, %v", rule, p, err)
		}
	}
	if p, err := planFor(""); err != nil || len(p.ops(all)) != len(all) {
		t.Errorf("standard: %v", err)
	}
	if _, err := planFor("claim-cas,look"); err != nil {
		t.Error(err)
	}
	if _, err := planFor("none"); err == nil || !strings.Contains(err.Error(), "claim-cas") {
		t.Errorf("%v", err)
	}
}

// What a plan takes of a file is the beginning of that file's history.
func TestWideTakesBeginnings(t *testing.T) {
	all, err := history.All()
	if err != nil {
		t.Fatal(err)
	}
	ops := wide(50, 3)(all)
	now := map[string]string{}
	files := map[string]int{}
	for _, op := range ops {
		files[op.Path]++
		if before, ok := now[op.Path]; ok && before != op.Old || !ok && op.Old != history.None {
			t.Fatalf("operation %d does not fit", op.N)
		}
		now[op.Path] = op.New
	}
	for path, n := range files {
		if n > 3 {
			t.Errorf("%d jobs of %s", n, path)
		}
	}
	if len(files) != 50 {
		t.Errorf("%d files", len(files))
	}
}

func TestScreenPrintsLinesWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, begun: time.Now()}
	s.progress(1, 10, 1, 1)
	s.progress(2, 10, 1, 1) // too soon
	s.event("worker %s", "a")
	s.say("end")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "1 of 10 jobs") || !strings.HasSuffix(lines[1], "worker a") || lines[2] != "end" {
		t.Errorf("%q", lines)
	}
	if strings.ContainsAny(out.String(), "\r\x1b") {
		t.Errorf("%q is for terminals", out.String())
	}
}

func TestScreenChangesOneLineOnATerminal(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, begun: time.Now(), live: true}
	s.progress(5, 10, 1, 1)
	s.event("stays")
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "\r\x1b[K") || !strings.Contains(text, "5/10") {
		t.Errorf("%q", text)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--none"}, {"stray"}, {"--break", "look", "--faults", "look"}, {"--limit", "-1"}, {"--break", "none"}, {"--bin", "/nonexistent"}} {
		if code := run(args); code != exitUsage {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
