package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) {
	natstest.Main()
	testscript.Main(leakless{m}, map[string]func(){
		"coordinator": func() { os.Exit(Main()) },
		"workerd":     fakeWorkerd,
	})
}

// leakless runs the tests and then looks for goroutines that they left.
type leakless struct{ m *testing.M }

func (l leakless) Run() int {
	code := l.m.Run()
	if err := leaks.Find(natstest.LeakOptions()...); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// fakeWorkerd says what it was given, makes a file when it can be stopped, and waits for that.
func fakeWorkerd() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("workerd", strings.Join(os.Args[1:], " "))
	if err := os.WriteFile("up", nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	<-stop
	fmt.Println("workerd stopped")
}

const testPayload = 64 << 10

// Each script runs against a server of its own, named by NATS_URL, that takes messages of 64 KiB.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			vars := map[string]string{"NATS_URL": natstest.Start(t, natstest.MaxPayload(testPayload)).URL(), "FREE_PORT": strconv.Itoa(natstest.Port(t)), "BAD_UTF8": "\xff", "LONG": strings.Repeat("x", 257)}
			if name == "connection" {
				locked := natstest.Start(t, natstest.UserPassword("bob", "secret"))
				vars["LOCKED"], vars["LOCKED_URL"] = "nats://"+locked.Addr(), locked.URL()
				vars["PLAIN_URL"] = natstest.Start(t, natstest.NoJetStream()).URL()
			}
			testscript.Run(t, testscript.Params{
				Files: []string{file}, RequireExplicitExec: true, RequireUniqueNames: true,
				UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
				Setup: func(env *testscript.Env) error {
					for k, v := range vars {
						env.Setenv(k, v)
					}
					env.Setenv("GORACE", "atexit_sleep_ms=0") // or each of the many commands takes a second with -race
					env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/.config")
					env.Setenv("TMPDIR", env.WorkDir+"/tmp")
					return os.Mkdir(env.WorkDir+"/tmp", 0o755)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"fails": fails, "keys": keysCmd, "bigfile": bigFile, "die": die, "beat": beat, "eventually": eventually, "lines": lines, "timeless": timeless, "raw": raw, "halt": halt, "gone": gone,
				},
			})
		})
	}
}

// fails CODE COMMAND… runs a command that must exit with this code.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// keys FILE NAME… demands that a JSON object, or each object of an array, has at least these keys.
func keysCmd(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("%s is no JSON: %v", args[0], err)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) == 0 {
		ts.Fatalf("the list is empty")
	}
	for _, one := range list {
		for _, path := range args[1:] {
			at := one
			for _, name := range strings.Split(path, ".") {
				if inner, ok := at.([]any); ok && len(inner) > 0 {
					at = inner[0]
				}
				m, _ := at.(map[string]any)
				if at, ok = m[name]; !ok {
					ts.Fatalf("no key %q", path)
				}
			}
		}
	}
}

// bigfile NAME BYTES makes a file.
func bigFile(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("x"), n), 0o644))
}

// lines FILE N ENTITIES makes a file to import.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	entities, err := strconv.Atoi(args[2])
	ts.Check(err)
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"entity":"build.%d","data":%d}`+"\n", i%entities, i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}

func connectJS(ts *testscript.TestScript) (jetstream.JetStream, func()) {
	nc, err := nats.Connect(ts.Getenv("NATS_URL"))
	ts.Check(err)
	js, err := jetstream.New(nc)
	ts.Check(err)
	return js, nc.Close
}

// raw SUBJECT publishes a job as any other client may.
func raw(ts *testscript.TestScript, _ bool, args []string) {
	js, done := connectJS(ts)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := js.Publish(ctx, args[0], nil)
	ts.Check(err)
}

// die QUEUE TYPE.ID KIND CAUSE ERROR puts a job among the dead, as a worker does.
func die(ts *testscript.TestScript, _ bool, args []string) {
	js, done := connectJS(ts)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q := subjects.Queue(args[0])
	e, err := subjects.ParseEntity(args[1])
	ts.Check(err)
	seq, _, err := streams.Publish(ctx, js.Conn(), q, e, streams.PublishOptions{Kind: args[2], Data: []byte("body of " + args[1])})
	ts.Check(err)
	m, err := streams.GetMessage(ctx, js, q.JobsStream(), seq)
	ts.Check(err)
	_, err = js.PublishMsg(ctx, streams.DeadMessage(q, m, streams.Death{Cause: args[3], Error: args[4], Attempts: 3, PublishedAt: m.Time}))
	ts.Check(err)
	_, err = streams.DeleteMessage(ctx, js, q.JobsStream(), seq)
	ts.Check(err)
}

// beat ID STATE QUEUE writes the record of a worker.
func beat(ts *testscript.TestScript, _ bool, args []string) {
	js, done := connectJS(ts)
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	record := streams.SessionRecord{
		Session: streams.NewSessionID(), Worker: args[0], State: args[1], Queues: args[2:], Host: "h1", PID: 77, Slots: 5, Busy: 2,
		StartedAt: time.Now(), BeatAt: time.Now(), LeaseMS: 600_000, RSSBytes: 64 << 20,
		Children: []streams.ChildRecord{{PID: 78, Pool: "rails", State: "ready", RSSBytes: 32 << 20, Jobs: 2}},
		Telemetry: streams.Telemetry{
			RTTMS: 1.25,
			Jobs: []streams.JobRecord{{
				Queue: "ci", Entity: "build.123", Kind: "archive", ID: "ci-9", Seq: 9, Fence: 41, Attempt: 2, Since: time.Now(),
				At: &streams.ProgressRecord{At: 40, Of: 100, Note: "uploading"},
			}},
			Pools: []streams.PoolRecord{{
				Name: "rails", Mode: "pool", Slots: 5, Restarts: 3, Why: map[string]int{"memory": 2, "exit": 1},
				LastExit: &streams.ExitRecord{PID: 70, At: time.Now(), Why: "exited with status 3: no database"},
			}},
		},
	}
	value, err := record.Encode()
	ts.Check(err)
	_, err = js.Publish(ctx, "$KV."+subjects.WorkersBucket+"."+record.Session, value)
	ts.Check(err)
}

// eventually COMMAND… runs a command until it succeeds: until a server that was started beside the script is up.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(time.Minute)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it never succeeded: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// timeless FILE WANT compares output after ages and times are made alike. A column is wider where an age takes more than the
// two places that it has on a quick machine; then how wide columns are is not compared.
func timeless(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	wide := slices.ContainsFunc(ages.FindAllString(text, -1), func(age string) bool { return len(age) > len("0s") && strings.HasSuffix(age, "s") })
	alike := func(text string) string {
		if text = ages.ReplaceAllString(text, "~"); wide {
			text = regexp.MustCompile(`  +`).ReplaceAllString(text, "  ")
		}
		return text
	}
	got, want := alike(text), alike(ts.ReadFile(args[1]))
	if got != want {
		ts.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
}
