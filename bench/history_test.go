package bench

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// BenchmarkHistory drains no-op jobs with a record of each, beside the same without any: each pair on the same machine in
// the same minute, the order changing. It prints the speed of the one as a part of the other's.
func BenchmarkHistory(b *testing.B) {
	const jobs = entities / 2
	var all, off time.Duration
	rounds := 0
	for b.Loop() {
		modes := []string{streams.HistoryOff, streams.HistoryAll}
		if rounds++; rounds%2 == 0 {
			modes[0], modes[1] = modes[1], modes[0]
		}
		for _, mode := range modes {
			took := drainWith(b, mode, jobs)
			if mode == streams.HistoryAll {
				all += took
			} else {
				off += took
			}
		}
	}
	b.ReportMetric(float64(jobs*rounds)/all.Seconds(), "all/s")
	b.ReportMetric(float64(jobs*rounds)/off.Seconds(), "off/s")
	b.ReportMetric(off.Seconds()/all.Seconds(), "of-off")
}

func drainWith(b *testing.B, history string, n int) time.Duration {
	b.Helper()
	srv := natstest.Start(b)
	defer srv.Stop()
	nc := connect(b, srv.URL())
	makeQueue(b, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := streams.EditQueue(b.Context(), js, queue, func(p *streams.Policy) { p.History = history }); err != nil {
		b.Fatal(err)
	}
	fill(b, nc, "jobs."+string(queue), n)
	took := drain(b, srv.URL(), n, func() {})
	s, err := js.Stream(b.Context(), queue.HistoryStream())
	if err != nil {
		b.Fatal(err)
	}
	want := uint64(0)
	if history == streams.HistoryAll {
		want = uint64(n)
	}
	if got := s.CachedInfo().State.Msgs; got != want {
		b.Fatalf("history %s: %d records of %d jobs", history, got, n)
	}
	return took
}
