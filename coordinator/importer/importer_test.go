package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

var errRefused = errors.New("refused")

// options are those of a stream on subjects t.>; a lane is the entity as it stands.
func options(nc *nats.Conn) Options {
	return Options{
		Conn: nc, MaxLine: 1 << 16, Timeout: 20 * time.Second,
		Make: func(l Line) (*nats.Msg, string, error) {
			if strings.Contains(l.Entity, "bad") {
				return nil, "", errors.New("bad entity")
			}
			msg := &nats.Msg{Subject: "t." + l.Entity, Data: l.Data}
			if l.ID != "" {
				msg.Header = nats.Header{"Nats-Msg-Id": {l.ID}}
			}
			return msg, l.Entity, nil
		},
		Answer: func(m *nats.Msg) (bool, error) {
			var a struct {
				Duplicate bool
				Error     *struct{ Description string }
			}
			if len(m.Data) == 0 {
				return false, nats.ErrNoResponders
			}
			if err := json.Unmarshal(m.Data, &a); err != nil {
				return false, fmt.Errorf("%w: %w", errRefused, err)
			}
			if a.Error != nil {
				return false, fmt.Errorf("%w: %s", errRefused, a.Error.Description)
			}
			return a.Duplicate, nil
		},
	}
}

func stream(t testing.TB, js jetstream.JetStream, cfg jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	cfg.Name, cfg.Subjects = "T", []string{"t.>"}
	s, err := js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// stored reads back all bodies by subject, in the order of the stream.
func stored(t testing.TB, s jetstream.Stream) map[string][]string {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		out[m.Subject] = append(out[m.Subject], string(m.Data))
	}
	return out
}

func TestOrderPerEntityIsKept(t *testing.T) {
	srv := natstest.Start(t)
	s := stream(t, srv.JetStream(), jetstream.StreamConfig{})
	var in strings.Builder
	want := map[string][]string{}
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 3000
	for i := range n {
		e := fmt.Sprint("e", int(rnd.ExpFloat64()*5))
		fmt.Fprintf(&in, "{\"entity\":%q,\"data\":%d}\r\n\n", e, i)
		want["t."+e] = append(want["t."+e], fmt.Sprint(i))
	}
	last := Progress{}
	o := options(srv.Conn())
	o.Progress = func(p Progress) { last = p }
	got, err := Run(t.Context(), strings.NewReader(in.String()), o)
	if err != nil || got.Published != n || got.FirstMissing != 0 || got.Unknown != 0 || got.Read != int64(in.Len()) {
		t.Fatalf("%+v, %v", got, err)
	}
	if last.Published != n || last.Read != got.Read {
		t.Errorf("last progress %+v", last)
	}
	if has := stored(t, s); fmt.Sprint(has) != fmt.Sprint(want) {
		t.Error("order differs")
	}
}

func TestBadLineStopsBehindIt(t *testing.T) {
	for name, c := range map[string]struct {
		in        string
		published int
		line      int
		says      string
	}{
		"not json":    {"{\"entity\":\"a\"}\n{\"entity\":\"a\"}\n\nnonsense\n{\"entity\":\"b\"}\n", 2, 4, "not JSON"},
		"refused":     {"{\"entity\":\"a\"}\n{\"entity\":\"bad\"}\n{\"entity\":\"b\"}\n", 1, 2, "bad entity"},
		"too long":    {"{\"entity\":\"a\"}\n" + strings.Repeat("x", 1<<17), 1, 2, "longer than 65536 bytes"},
		"last line":   {"{\"entity\":\"a\"}\n{\"entity\"", 1, 2, "not JSON"},
		"first, BOM":  {"\xef\xbb\xbf{\"entity\":\"a\"}\n[]", 1, 2, "must be a JSON object"},
		"many before": {strings.Repeat("{\"entity\":\"a\"}\n{\"entity\":\"b\"}\n", 400) + "x", 800, 801, "not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := natstest.Start(t)
			s := stream(t, srv.JetStream(), jetstream.StreamConfig{})
			got, err := Run(t.Context(), strings.NewReader(c.in), options(srv.Conn()))
			var bad *LineError
			if !errors.As(err, &bad) || bad.Line != c.line || bad.Refused || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%+v, %v", got, err)
			}
			if got.Published != c.published || got.FirstMissing != c.line || got.Unknown != 0 {
				t.Errorf("%+v", got)
			}
			info, err := s.Info(t.Context())
			if err != nil || int(info.State.Msgs) != c.published {
				t.Error(info.State.Msgs, err)
			}
		})
	}
}

func TestRefusedPublishStopsEverything(t *testing.T) {
	srv := natstest.Start(t)
	s := stream(t, srv.JetStream(), jetstream.StreamConfig{MaxMsgs: 10, Discard: jetstream.DiscardNew})
	var in strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&in, "{\"entity\":\"e%d\",\"data\":%d}\n", i%7, i)
	}
	got, err := Run(t.Context(), strings.NewReader(in.String()), options(srv.Conn()))
	var bad *LineError
	if !errors.As(err, &bad) || !bad.Refused || !errors.Is(err, errRefused) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got.Published != 10 || got.Unknown != 0 || got.FirstMissing == 0 || got.FirstMissing > bad.Line {
		t.Errorf("%+v, line %d", got, bad.Line)
	}
	// What is in of each entity is a head of its jobs, without a hole.
	for subject, bodies := range stored(t, s) {
		for i, b := range bodies {
			var e int
			if _, err := fmt.Sscanf(subject, "t.e%d", &e); err != nil || b != fmt.Sprint(e+7*i) {
				t.Errorf("%s has %v", subject, bodies)
				break
			}
		}
	}
}

func TestNobodyListens(t *testing.T) {
	srv := natstest.Start(t)
	got, err := Run(t.Context(), strings.NewReader("{\"entity\":\"a\"}\n{\"entity\":\"b\"}\n"), options(srv.Conn()))
	var bad *LineError
	if !errors.As(err, &bad) || !errors.Is(err, nats.ErrNoResponders) || !bad.Refused || got.Published != 0 || got.FirstMissing != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// A stream that is not there for a moment, as in an election, costs time and nothing else.
func TestNobodyForAMoment(t *testing.T) {
	srv := natstest.Start(t)
	js := srv.JetStream()
	o := options(srv.Conn())
	answer := o.Answer
	var s jetstream.Stream
	o.Answer = func(m *nats.Msg) (bool, error) {
		d, err := answer(m)
		if errors.Is(err, nats.ErrNoResponders) && s == nil {
			s = stream(t, js, jetstream.StreamConfig{})
		}
		return d, err
	}
	in := strings.Repeat("{\"entity\":\"a\",\"data\":1}\n{\"entity\":\"a\",\"data\":2}\n{\"entity\":\"b\"}\n", 10)
	got, err := Run(t.Context(), strings.NewReader(in), o)
	if err != nil || got.Published != 30 {
		t.Fatalf("%+v, %v", got, err)
	}
	if has := stored(t, s)["t.a"]; fmt.Sprint(has) != "["+strings.TrimSpace(strings.Repeat("1 2 ", 10))+"]" {
		t.Error(has)
	}
}

func TestDuplicatesAreCounted(t *testing.T) {
	srv := natstest.Start(t)
	stream(t, srv.JetStream(), jetstream.StreamConfig{})
	in := "{\"entity\":\"a\",\"id\":\"1\"}\n{\"entity\":\"a\",\"id\":\"1\"}\n{\"entity\":\"b\",\"id\":\"2\"}\n"
	got, err := Run(t.Context(), strings.NewReader(in), options(srv.Conn()))
	if err != nil || got.Published != 2 || got.Duplicates != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// A pipe that pauses: what came is published without waiting for more, and ending the context ends the import.
func TestPauseAndCancel(t *testing.T) {
	srv := natstest.Start(t)
	stream(t, srv.JetStream(), jetstream.StreamConfig{})
	r, w := io.Pipe()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	o := options(srv.Conn())
	o.Progress = func(p Progress) {
		if p.Published == 2 {
			cancel(why)
		}
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, "{\"entity\":\"a\"}\n{\"entity\":\"b\"}\n")
		wrote <- err
	}()
	got, err := Run(ctx, r, o)
	if !errors.Is(err, why) || got.Published != 2 || got.FirstMissing != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	_ = w.Close() // ends the reader
}

func TestServerGoesAway(t *testing.T) {
	srv := natstest.Start(t)
	stream(t, srv.JetStream(), jetstream.StreamConfig{})
	r, w := io.Pipe()
	defer w.Close()
	o := options(srv.Conn())
	stopped := false
	o.Progress = func(p Progress) {
		if p.Published > 0 && !stopped {
			stopped = true
			srv.Stop()
		}
	}
	go func() {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "{\"entity\":\"e%d\"}\n", i%10); err != nil {
				return
			}
		}
	}()
	got, err := Run(t.Context(), r, o)
	_ = r.Close() // ends the writer
	if err == nil || got.Published == 0 || got.FirstMissing == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
}

// A server that never answers.
func TestNoAnswer(t *testing.T) {
	srv := natstest.Start(t)
	nc := srv.Conn()
	if _, err := nc.SubscribeSync("t.>"); err != nil {
		t.Fatal(err)
	}
	o := options(nc)
	o.Timeout = 100 * time.Millisecond
	got, err := Run(t.Context(), strings.NewReader("{\"entity\":\"a\"}\n{\"entity\":\"b\"}\n"), o)
	if !errors.Is(err, ErrNoAnswer) || got.Unknown != 2 || got.FirstMissing != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func BenchmarkImport(b *testing.B) {
	srv := natstest.Process(b)
	stream(b, srv.JetStream(), jetstream.StreamConfig{})
	nc := srv.Conn()
	var in strings.Builder
	for i := range b.N {
		fmt.Fprintf(&in, `{"entity":"build.%d","kind":"archive","data":{"ref":"main","n":%d}}`+"\n", i%10000, i)
	}
	b.ResetTimer()
	got, err := Run(b.Context(), strings.NewReader(in.String()), options(nc))
	b.StopTimer()
	if err != nil || got.Published != b.N {
		b.Fatalf("%+v, %v", got, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}
