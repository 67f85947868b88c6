package bench

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/streams"
)

// BenchmarkReplicated is BenchmarkDrain on three servers of this machine, with three copies of everything, beside a
// plain work queue with three copies.
func BenchmarkReplicated(b *testing.B) {
	const jobs = entities / 5 // a copy more costs a multiple
	for b.Loop() {
		set := natstest.Cluster(b, 3)
		nc := connect(b, set.URL())
		js, err := jetstream.New(nc)
		if err != nil {
			b.Fatal(err)
		}
		p := streams.DefaultPolicy()
		p.Replicas = 3
		if _, err := streams.CreateQueue(b.Context(), js, queue, p); err != nil {
			b.Fatal(err)
		}
		alone := plain(b, nc, jobs, 3)
		pub := fill(b, nc, "jobs."+string(queue), jobs)
		d := drain(b, set.URL(), jobs, func() {})
		b.ReportMetric(jobs/pub.Seconds(), "published/s")
		b.ReportMetric(jobs/d.Seconds(), "drained/s")
		b.ReportMetric(jobs/alone.Seconds(), "plain/s")
		b.ReportMetric(alone.Seconds()/d.Seconds(), "of-plain")
	}
}
