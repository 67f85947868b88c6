package record

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestRecorderWritesWhatReadFilesReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r.Worker = "w1"
	run := Run{Entity: "file.a \"b\"\n", Op: 3, Seq: 4, Fence: 5, Attempt: 6, Locked: true}
	before := Now()
	for _, write := range []func(Run) error{r.Start, r.Finish, r.Failed, r.Refused, r.LockBusy} {
		if err := write(run); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(run); err == nil {
		t.Error("a closed recorder still writes")
	}
	log, err := ReadFiles(path)
	if err != nil || len(log.Events) != 5 || log.Torn != 0 {
		t.Fatalf("%+v, %v", log, err)
	}
	for i, what := range []string{Start, Finish, Failed, Refused, LockBusy} {
		e := log.Events[i]
		if e.What != what || e.Run != run || e.PID != os.Getpid() || e.Worker != "w1" || e.T < before || e.T > Now() {
			t.Errorf("%+v", e)
		}
		before = e.T
	}
}

func TestTornLinesSpoilNoOthers(t *testing.T) {
	whole := `{"t":1,"event":"start","entity":"e.1","op":1,"seq":1,"fence":1,"attempt":1,"pid":2}`
	for name, c := range map[string]struct {
		text         string
		events, torn int
	}{
		"empty":            {"", 0, 0},
		"only breaks":      {"\n\n\n", 0, 0},
		"no last break":    {"\n" + whole, 1, 0},
		"torn at the end":  {"\n" + whole + "\n\n" + whole[:20], 1, 1},
		"torn in between":  {"\n" + whole[:20] + "\n" + whole + "\n", 1, 1},
		"not of this kind": {"{}\nhello\n" + whole, 1, 2},
	} {
		log, err := Read(strings.NewReader(c.text))
		if err != nil || len(log.Events) != c.events || log.Torn != c.torn {
			t.Errorf("%s: %+v, %v", name, log, err)
		}
	}
}

func TestMissingWitnessIsAnError(t *testing.T) {
	if _, err := ReadFiles(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a record that does not exist was read")
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder was opened as a record")
	}
}

const writersEnv = "RECORD_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writersEnv); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

// writeForever prints a byte for every event, so that a reader that goes away ends it.
func writeForever(path string) {
	r, err := Open(path)
	for i := 0; err == nil; i++ {
		if err = r.Start(Run{Entity: "e." + strings.Repeat("x", i%200), Op: i}); err == nil {
			_, err = os.Stdout.WriteString(".")
		}
	}
	os.Exit(1)
}

// Many processes append to one record and are killed in the middle of it: at most one line of each is spoiled.
func TestKilledWritersDoNotMixLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	const writers = 4
	var wg sync.WaitGroup
	for range writers {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writersEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, out, 500); err != nil {
				t.Error(err)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	wg.Wait()
	log, err := ReadFiles(path)
	if err != nil || log.Torn > writers {
		t.Fatalf("%d torn, %v", log.Torn, err)
	}
	next := map[int]int{}
	for _, e := range log.Events {
		if e.Op != next[e.PID] {
			t.Fatalf("pid %d wrote %d after %d", e.PID, e.Op, next[e.PID]-1)
		}
		next[e.PID]++
	}
	if len(next) != writers {
		t.Errorf("%d writers of %d are in the record", len(next), writers)
	}
}

func BenchmarkRecorder(b *testing.B) {
	r, err := Open(filepath.Join(b.TempDir(), "record"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	run := Run{Entity: "file.server/stream.go", Op: 12345, Seq: 23456, Fence: 34567, Attempt: 1, Locked: true}
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Start(run)
	}
}

func BenchmarkCheck(b *testing.B) {
	const entities, each = 1000, 20
	var log Log
	var jobs []Job
	for i := range entities * each {
		run := Run{Entity: fmt.Sprintf("e.%d", i%entities), Op: i, Seq: uint64(i), Fence: uint64(i + 1), Attempt: 1}
		jobs = append(jobs, Job{Op: i, Entity: run.Entity})
		log.Events = append(log.Events, Event{T: int64(10*i + 1), What: Start, Run: run}, Event{T: int64(10*i + 9), What: Finish, Run: run})
	}
	for b.Loop() {
		if r := Check(log, jobs, nil); !r.OK() {
			b.Fatal(r)
		}
	}
}
