package lifecycle_test

import (
	"os"
	"sync/atomic"
	"testing"

	"github.com/seriatim/seriatim/lifecycle"
)

// benchmarkRun runs b.N jobs, as many at once as the pool takes.
func benchmarkRun(b *testing.B, cfg lifecycle.Config, job lifecycle.Job) {
	cfg.Name, cfg.SlotWait = "bench", plenty
	pool, err := lifecycle.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := pool.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer pool.Stop(ended(lifecycle.ErrKillNow))
	if r := pool.Run(b.Context(), job); r.Cause != lifecycle.Done {
		b.Fatalf("%+v", r)
	}
	slots := pool.Slots()
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.ReportAllocs()
	b.ResetTimer()
	for range slots {
		go func() {
			for left.Add(-1) >= 0 {
				if r := pool.Run(b.Context(), job); r.Cause != lifecycle.Done {
					b.Errorf("%+v", r)
				}
			}
			done <- struct{}{}
		}()
	}
	for range slots {
		<-done
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

func BenchmarkPoolGoChild(b *testing.B) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	job := lifecycle.Job{Queue: "ci", Entity: "build.123", Kind: "echo", ID: "ci-9", Seq: 9, Fence: 41, Attempt: 1, Body: make([]byte, 128)}
	for name, role := range map[string]string{"4 at once": "good", "100 at once": "wide"} {
		b.Run(name, func(b *testing.B) {
			benchmarkRun(b, lifecycle.Config{
				Mode: lifecycle.ModePool, Command: []string{exe}, Env: map[string]string{actAs: role}, Concurrency: 100,
			}, job)
		})
	}
	b.Run("1 at once", func(b *testing.B) {
		benchmarkRun(b, lifecycle.Config{Mode: lifecycle.ModePool, Command: []string{exe}, Env: map[string]string{actAs: "good"}}, job)
	})
}

func BenchmarkExecTrue(b *testing.B) {
	for name, n := range map[string]int{"1 at once": 1, "4 at once": 4} {
		b.Run(name, func(b *testing.B) {
			benchmarkRun(b, lifecycle.Config{Mode: lifecycle.ModeExec, Command: []string{"true"}, Concurrency: n}, lifecycle.Job{})
		})
	}
}
