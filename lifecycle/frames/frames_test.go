package frames_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/seriatim/seriatim/internal/version"
	"github.com/seriatim/seriatim/lifecycle/frames"
)

func TestTheVersionIsTheOneOfTheBuild(t *testing.T) {
	if frames.Version != version.Protocol {
		t.Fatalf("frames speak %d, the build says %d", frames.Version, version.Protocol)
	}
}

func TestTheJobFrameOfTheContract(t *testing.T) {
	got := string(frames.AppendJob(nil, &frames.Job{
		Run: 17, Queue: "ci", Entity: "build.123", Kind: "archive", ID: "a", Seq: 9, Fence: 41, Attempt: 1,
		Timeout: 90 * time.Second, Body: []byte(`{"ref":"main"}`),
	}))
	want := `{"run":17,"queue":"ci","entity":"build.123","kind":"archive","id":"a","seq":9,"fence":41,"attempt":1,` +
		`"timeout_ms":90000,"headers":{},"len":14}` + "\n" + `{"ref":"main"}`
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestAnswersOfTheContract(t *testing.T) {
	for _, c := range []struct {
		in   string
		want frames.Answer
	}{
		{`{"ready":true,"concurrency":5,"version":1}`, frames.Answer{Kind: frames.AnswerReady, Concurrency: 5, Version: 1}},
		{`{"ready":true}`, frames.Answer{Kind: frames.AnswerReady, Concurrency: 1, Version: 1}},
		{`{"ready":true,"concurrency":-3,"version":2}`, frames.Answer{Kind: frames.AnswerReady, Concurrency: 1, Version: 2}},
		{`{"done":17}`, frames.Answer{Kind: frames.AnswerDone, Run: 17}},
		{`{"done":17,"len":5}` + "\nhello", frames.Answer{Kind: frames.AnswerDone, Run: 17, Body: []byte("hello")}},
		{`{ "len":5, "done":17, "new":[1] }` + "\r\nhello", frames.Answer{Kind: frames.AnswerDone, Run: 17, Body: []byte("hello")}},
		{`{"fail":17,"error":"disk full","retry":true,"retry_in_ms":5000}`, frames.Answer{
			Kind: frames.AnswerFail, Run: 17, Error: "disk full", Retry: true, RetryIn: 5 * time.Second,
		}},
		{`{"fail":17}`, frames.Answer{Kind: frames.AnswerFail, Run: 17, Retry: true}},
		{`{"fail":17,"retry":false,"retry_in_ms":1e300}`, frames.Answer{Kind: frames.AnswerFail, Run: 17, RetryIn: math.MaxInt64}},
		{`{"fail":17,"retry_in_ms":-1}`, frames.Answer{Kind: frames.AnswerFail, Run: 17, Retry: true}},
		{`{"progress":17,"at":40,"of":100,"note":"uploading"}`, frames.Answer{
			Kind: frames.AnswerProgress, Run: 17, At: 40, Of: 100, Note: "uploading",
		}},
		{`{"hello":"from the future","len":2}` + "\nhi", frames.Answer{Body: []byte("hi")}},
		{`{}`, frames.Answer{}},
	} {
		in := c.in
		if !strings.Contains(in, "\n") {
			in += "\n"
		}
		// What follows must be found where the frame ends.
		r := frames.NewReader(strings.NewReader(in+`{"done":99}`+"\n"), frames.Limits{})
		got, err := r.Answer()
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: %s", c.in, diff)
		}
		if next, err := r.Answer(); err != nil || next.Run != 99 {
			t.Errorf("%q: the next frame is %+v, %v", c.in, next, err)
		}
		if _, err := r.Answer(); !errors.Is(err, io.EOF) {
			t.Errorf("%q: at the end: %v", c.in, err)
		}
	}
}

func TestGarbageIsNamedAndQuoted(t *testing.T) {
	limits := frames.Limits{Header: 200_000, Body: 100}
	for _, c := range []struct {
		name, in, quoted string
		kind             error
	}{
		{"plain text", "Booting...\n{\"ready\":true}\n", `"Booting...\n"`, frames.ErrNotFrame},
		{"text without an end", "Booting", `"Booting"`, frames.ErrNotFrame},
		{"binary", "\x00\xff\x01", `"\x00\xff\x01"`, frames.ErrNotFrame},
		{"an empty line", "\n", `"\n"`, frames.ErrNotFrame},
		{"a JSON number", "17\n", `"17\n"`, frames.ErrNotFrame},
		{"broken JSON", "{\"done\":17\n", `"{\"done\":17"`, frames.ErrNotFrame},
		{"two objects on a line", "{\"done\":1}{\"done\":2}\n", `"{\"done\":1}{\"done\":2}"`, frames.ErrNotFrame},
		{"a run that is no number", "{\"done\":\"17\"}\n", `"{\"done\":\"17\"}"`, frames.ErrNotFrame},
		{"a negative run", "{\"done\":-1}\n", `"{\"done\":-1}"`, frames.ErrNotFrame},
		{"a run that overflows", "{\"done\":99999999999999999999}\n", `99999999999999999999`, frames.ErrNotFrame},
		{"two verbs", "{\"done\":1,\"fail\":1}\n", `"{\"done\":1,\"fail\":1}"`, frames.ErrNotFrame},
		{"a negative length", "{\"done\":1,\"len\":-1}\n", `"{\"done\":1,\"len\":-1}"`, frames.ErrNotFrame},
		{"a long body", "{\"done\":1,\"len\":101}\n", `"{\"done\":1,\"len\":101}"`, frames.ErrLongBody},
		{"a long header", "{" + strings.Repeat(" ", 300_000), `…`, frames.ErrLongHeader},
		{"a header just too long", "{" + strings.Repeat(" ", 199_999) + "}\n", `…`, frames.ErrLongHeader},
		{"an end in the header", `{"done":1`, `"{\"done\":1"`, frames.ErrTruncated},
		{"an end in the body", "{\"done\":1,\"len\":7}\nshort", `7 bytes`, frames.ErrTruncated},
	} {
		_, err := frames.NewReader(strings.NewReader(c.in), limits).Answer()
		var typed *frames.Error
		if !errors.As(err, &typed) || !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.kind)
			continue
		}
		if !strings.Contains(err.Error(), c.quoted) || len(err.Error()) > 600 {
			t.Errorf("%s: %v: does not quote %s", c.name, err, c.quoted)
		}
	}
}

func TestAHeaderOfTheFullLengthIsTaken(t *testing.T) {
	const size = 200_000
	line := `{"done":3` + strings.Repeat(" ", size-10) + "}\n"
	got, err := frames.NewReader(strings.NewReader(line), frames.Limits{Header: size}).Answer()
	if err != nil || got.Run != 3 {
		t.Fatal(got, err)
	}
}

func TestAStreamsOwnErrorComesAsItIs(t *testing.T) {
	broken := errors.New("cable cut")
	for _, before := range []string{"", `{"done"`, "{\"done\":1,\"len\":5}\nhe"} {
		r := frames.NewReader(io.MultiReader(strings.NewReader(before), failing{broken}), frames.Limits{})
		if _, err := r.Answer(); !errors.Is(err, broken) {
			t.Errorf("after %q: %v", before, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// oneByte gives a stream byte by byte, the worst a pipe can do.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestOrdersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.Rune())
		var stream []byte
		var want []frames.Order
		for range rapid.IntRange(1, 5).Draw(t, "frames") {
			run := rapid.Uint64().Draw(t, "run")
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				j := frames.Job{
					Run: run, Queue: text.Draw(t, "queue"), Entity: text.Draw(t, "entity"), Kind: text.Draw(t, "kind"),
					ID: text.Draw(t, "id"), Seq: rapid.Uint64().Draw(t, "seq"), Fence: rapid.Uint64().Draw(t, "fence"),
					Attempt:     rapid.Int().Draw(t, "attempt"),
					Timeout:     time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "ms")) * time.Millisecond,
					Headers:     rapid.MapOf(text, text).Draw(t, "headers"),
					Traceparent: text.Draw(t, "trace"),
					Body:        rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
				}
				stream = frames.AppendJob(stream, &j)
				want = append(want, frames.Order{Kind: frames.OrderRun, Run: run, Job: j})
			case 1:
				stream = frames.AppendCancel(stream, run)
				want = append(want, frames.Order{Kind: frames.OrderCancel, Run: run})
			case 2:
				stream = frames.AppendStop(stream)
				want = append(want, frames.Order{Kind: frames.OrderStop})
			}
		}
		r := frames.NewReader(oneByte{bytes.NewReader(stream)}, frames.Limits{})
		for i, w := range want {
			got, err := r.Order()
			if err != nil {
				t.Fatalf("frame %d of %q: %v", i, stream, err)
			}
			if diff := cmp.Diff(w, got); diff != "" {
				t.Fatalf("frame %d of %q: %s", i, stream, diff)
			}
		}
		if _, err := r.Order(); !errors.Is(err, io.EOF) {
			t.Fatalf("at the end: %v", err)
		}
	})
}

func TestAnswersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.Rune())
		run := rapid.Uint64().Draw(t, "run")
		var stream []byte
		var want frames.Answer
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			n := rapid.IntRange(1, 1000).Draw(t, "concurrency")
			stream = frames.AppendReady(nil, n)
			want = frames.Answer{Kind: frames.AnswerReady, Concurrency: n, Version: frames.Version}
		case 1:
			want = frames.Answer{Kind: frames.AnswerDone, Run: run}
			if body := rapid.SliceOf(rapid.Byte()).Draw(t, "result"); len(body) > 0 {
				want.Body = body
			}
			stream = frames.AppendDone(nil, run, want.Body)
		case 2:
			want = frames.Answer{
				Kind: frames.AnswerFail, Run: run, Error: text.Draw(t, "error"), Retry: rapid.Bool().Draw(t, "retry"),
				RetryIn: time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "ms")) * time.Millisecond,
			}
			stream = frames.AppendFail(nil, run, want.Error, want.Retry, want.RetryIn)
		case 3:
			want = frames.Answer{
				Kind: frames.AnswerProgress, Run: run, At: rapid.Float64().Draw(t, "at"),
				Of: rapid.Float64().Draw(t, "of"), Note: text.Draw(t, "note"),
			}
			stream = frames.AppendProgress(nil, run, want.At, want.Of, want.Note)
		}
		got, err := frames.NewReader(oneByte{bytes.NewReader(stream)}, frames.Limits{}).Answer()
		if err != nil {
			t.Fatalf("%q: %v", stream, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q: %s", stream, diff)
		}
	})
}

// Strings are written as encoding/json would read them, whatever bytes they hold.
func TestStringsAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		frame := frames.AppendFail(nil, 1, s, true, 0)
		var got struct{ Error string }
		if err := json.Unmarshal(frame, &got); err != nil {
			t.Fatalf("%q: %v", frame, err)
		}
		if want := string([]rune(s)); got.Error != want {
			t.Fatalf("%q came back as %q", s, got.Error)
		}
	})
}

func TestNumbersThatJSONCannotSay(t *testing.T) {
	frame := frames.AppendProgress(nil, 1, math.NaN(), math.Inf(1), "")
	got, err := frames.NewReader(bytes.NewReader(frame), frames.Limits{}).Answer()
	if err != nil || got.At != 0 || got.Of != 0 {
		t.Fatalf("%q: %+v, %v", frame, got, err)
	}
}

func TestAShortTimeoutDoesNotBecomeNone(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		1: time.Millisecond, time.Millisecond: time.Millisecond, time.Millisecond + 1: 2 * time.Millisecond, 0: 0,
	} {
		frame := frames.AppendJob(nil, &frames.Job{Timeout: d})
		got, err := frames.NewReader(bytes.NewReader(frame), frames.Limits{}).Order()
		if err != nil || got.Job.Timeout != want {
			t.Errorf("%v came as %v (%v)", d, got.Job.Timeout, err)
		}
	}
}

// FuzzAnswer: no bytes make the reader panic, hold more than its limits, or fail without a type; and a frame that was
// read means the same however it was written.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"{\"ready\":true,\"concurrency\":5,\"version\":1}\n", "{\"done\":17}\n", "{\"done\":017}\n", "{\"done\":17,\"len\":5}\nhello",
		"{\"fail\":17,\"error\":\"disk full\",\"retry\":true,\"retry_in_ms\":5000}\n", "{\"progress\":1,\"at\":1e400}\n",
		"garbage", "{", "{\"done\":1,\"len\":99999999999}\n", "{}\n{\"done\":1,\"fail\":2}\n", "{\"done\":999999999999999999}\n",
	} {
		f.Add([]byte(seed))
	}
	limits := frames.Limits{Header: 1000, Body: 1000}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := frames.NewReader(bytes.NewReader(stream), limits)
		spaced := frames.NewReader(bytes.NewReader(bytes.ReplaceAll(stream, []byte(`{"done":`), []byte(`{ "done":`))), frames.Limits{Header: 9000, Body: 1000})
		// A body would be changed too; keys are read without regard to case.
		same := !bytes.Contains(bytes.ToLower(stream), []byte(`len`)) && !bytes.ContainsRune(stream, '\\')
		for range len(stream) + 1 {
			a, err := r.Answer()
			if len(a.Body) > limits.Body {
				t.Fatalf("a body of %d bytes", len(a.Body))
			}
			if err == nil && same {
				if b, err := spaced.Answer(); err != nil || !reflect.DeepEqual(a, b) {
					t.Fatalf("%+v, but written with a space %+v, %v", a, b, err)
				}
			}
			var typed *frames.Error
			if errors.Is(err, io.EOF) || errors.As(err, &typed) {
				return
			}
			if err != nil {
				t.Fatalf("an error without a type: %v", err)
			}
		}
		t.Fatal("more frames than bytes")
	})
}

// FuzzOrder is the same for the other direction.
func FuzzOrder(f *testing.F) {
	f.Add(frames.AppendJob(nil, &frames.Job{Run: 1, Body: []byte("x"), Headers: map[string]string{"a": "b"}}))
	f.Add(frames.AppendStop(frames.AppendCancel(nil, 1)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := frames.NewReader(bytes.NewReader(stream), frames.Limits{Header: 1000, Body: 1000})
		for {
			_, err := r.Order()
			var typed *frames.Error
			if errors.Is(err, io.EOF) || errors.As(err, &typed) {
				return
			}
			if err != nil {
				t.Fatalf("an error without a type: %v", err)
			}
		}
	})
}

func BenchmarkAppendJob(b *testing.B) {
	j := &frames.Job{Run: 17, Queue: "ci", Entity: "build.123", Kind: "archive", ID: "ci-9", Seq: 9, Fence: 41, Attempt: 1, Body: make([]byte, 128)}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = frames.AppendJob(buf[:0], j)
	}
}

func BenchmarkAnswerDone(b *testing.B) { benchmarkAnswer(b, frames.AppendDone(nil, 17, nil)) }

func BenchmarkAnswerFail(b *testing.B) {
	benchmarkAnswer(b, frames.AppendFail(nil, 17, "disk full", true, time.Second))
}

func benchmarkAnswer(b *testing.B, frame []byte) {
	stream := bytes.Repeat(frame, 1000)
	in := bytes.NewReader(stream)
	r := frames.NewReader(in, frames.Limits{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Answer(); err != nil {
			in.Reset(stream)
		}
	}
}
