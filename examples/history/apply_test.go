package history

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/record"
)

// bench is an applier with a folder and a record of its own.
type bench struct {
	*Applier
	t     *testing.T
	path  string
	fence uint64
}

func newBench(t *testing.T, work time.Duration) *bench {
	t.Helper()
	path := filepath.Join(t.TempDir(), "record")
	rec, err := record.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rec.Close() })
	a, err := NewApplier(filepath.Join(t.TempDir(), "state"), rec, work)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Applier: a, t: t, path: path}
}

func (b *bench) apply(ctx context.Context, op Op) error {
	b.t.Helper()
	body, err := json.Marshal(Change{op.N, op.Kind, op.Old, op.New})
	if err != nil {
		b.t.Fatal(err)
	}
	b.fence++
	return b.Apply(ctx, Job{Entity: op.Entity(), Seq: uint64(op.N), Fence: b.fence, Attempt: 1, Body: body})
}

// events are the words of the record so far.
func (b *bench) events() string {
	b.t.Helper()
	log, err := record.ReadFiles(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	var words []string
	for _, e := range log.Events {
		words = append(words, e.What)
	}
	return strings.Join(words, " ")
}

const hashA, hashB = "00000000000000aa", "00000000000000bb"

var steps = []Op{
	{N: 1, Kind: "A", Old: None, New: hashA, Path: "a/b c.go"},
	{N: 2, Kind: "M", Old: hashA, New: hashB, Path: "a/b c.go"},
	{N: 3, Kind: "M", Old: hashB, New: hashA, Path: "a/b c.go"},
	{N: 4, Kind: "D", Old: hashA, New: None, Path: "a/b c.go"},
}

func TestTheWholeHistoryInOrder(t *testing.T) {
	b, ops := newBench(t, 0), all(t)
	for _, op := range ops {
		if err := b.apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	exist, differences, err := Compare(b.dir, ops)
	if err != nil || exist != 605 || len(differences) > 0 {
		t.Errorf("%d files, %q, %v", exist, differences, err)
	}
	log, err := record.ReadFiles(b.path)
	if err != nil {
		t.Fatal(err)
	}
	if r := record.Check(log, Expected(ops), nil); !r.OK() || r.Finished != 20003 || r.Entities != 1374 || r.Peak != 1 {
		t.Errorf("%s", r)
	}
}

func TestApplyRefusesWhatIsNotNext(t *testing.T) {
	for name, c := range map[string]struct {
		ops    []int // indices in steps
		events string
		err    error // of the last
	}{
		"in order":               {[]int{0, 1, 2, 3}, strings.TrimSpace(strings.Repeat("start finish ", 4)), nil},
		"too early":              {[]int{1}, "start refused", ErrRefused},
		"one left out":           {[]int{0, 2}, "start finish start refused", ErrRefused},
		"again at once":          {[]int{0, 0}, "start finish start finish", nil},
		"again too late":         {[]int{0, 1, 0}, "start finish start finish start refused", ErrRefused},
		"its hash is back":       {[]int{0, 1, 2, 1}, "start finish start finish start finish start refused", ErrRefused},
		"deleted, then from new": {[]int{0, 1, 2, 3, 0}, "start finish start finish start finish start finish start refused", ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 0)
			var err error
			for _, i := range c.ops {
				err = b.apply(t.Context(), steps[i])
			}
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || b.events() != c.events {
				t.Errorf("%v; %s", err, b.events())
			}
		})
	}
}

func TestApplyFindsTheLockBusy(t *testing.T) {
	b := newBench(t, 0)
	unlock, err := b.lock(steps[0].Entity())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.apply(t.Context(), steps[0]); !errors.Is(err, ErrLockBusy) || b.events() != "lockbusy" {
		t.Errorf("%v; %s", err, b.events())
	}
	unlock()
	if err := b.apply(t.Context(), steps[0]); err != nil || b.events() != "lockbusy start finish" {
		t.Errorf("%v; %s", err, b.events())
	}
}

// A run that is cancelled changes nothing, says so, and lets go of the lock.
func TestApplyIsCancelled(t *testing.T) {
	b := newBench(t, time.Hour)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("time is over")
	cancel(why)
	if err := b.apply(ctx, steps[0]); !errors.Is(err, why) || b.events() != "start failed" {
		t.Errorf("%v; %s", err, b.events())
	}
	b.work = 0
	if err := b.apply(t.Context(), steps[0]); err != nil {
		t.Error(err)
	}
}

func TestApplyRefusesBodiesThatAreNoOperation(t *testing.T) {
	for _, body := range []string{"", "hello", "{}", `{"n":0}`, `[]`} {
		b := newBench(t, 0)
		err := b.Apply(t.Context(), Job{Entity: "file.x", Body: []byte(body)})
		if !errors.Is(err, ErrBody) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestApplyDoesNotTrustABrokenState(t *testing.T) {
	for _, text := range []string{"", "{", `{"entity":"file.other","n":1,"hash":"00000000000000aa"}`} {
		b := newBench(t, 0)
		path := filepath.Join(b.dir, fileName(steps[0].Entity())+".json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := b.apply(t.Context(), steps[0]); err == nil || b.events() != "start failed" {
			t.Errorf("%q: %v; %s", text, err, b.events())
		}
	}
}

func TestCompare(t *testing.T) {
	b := newBench(t, 0)
	extra := Op{N: 9, Kind: "A", Old: None, New: hashA, Path: "extra"}
	for _, op := range append(steps[:2:2], extra) {
		if err := b.apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	missing := Op{N: 5, Kind: "A", Old: None, New: hashA, Path: "missing"}
	for name, c := range map[string]struct {
		ops  []Op
		want []string
	}{
		"as it must be":  {append(steps[:2:2], extra), nil},
		"one too few":    {append(steps[:3:3], extra), []string{"file.a/b c.go: at " + hashB + " after operation 2, not at " + hashA + " after operation 3"}},
		"one too many":   {append(steps[:1:1], extra), []string{"file.a/b c.go: at " + hashB + " after operation 2, not at " + hashA + " after operation 1"}},
		"not reached":    {append(steps[:2:2], extra, missing), []string{"file.missing: no operation reached it"}},
		"not to be seen": {steps[:2], []string{"file.extra: nothing should have touched it"}},
	} {
		exist, got, err := Compare(b.dir, c.ops)
		if err != nil || exist != 2 || strings.Join(got, "; ") != strings.Join(c.want, "; ") {
			t.Errorf("%s: %d, %q, %v", name, exist, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, "x.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Compare(b.dir, steps); err == nil {
		t.Error("a broken state was compared")
	}
}
