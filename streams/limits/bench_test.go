package limits

import (
	"testing"
	"time"
)

// What a job costs that is under no limit, and one that is under three of which the worker has its share.
func BenchmarkJob(b *testing.B) {
	for name, bounds := range map[string]map[string]int{
		"no limit": nil, "three limits": {Queue: 8, Type("build"): 8, Kind("archive"): 8},
	} {
		b.Run(name, func(b *testing.B) {
			m := New(DefaultConfig(), func(string) bool { return false }, func() float64 { return 0 })
			m.At(time.Hour)
			m.SetLimits(bounds)
			m.Session("me")
			for limit := range bounds {
				m.Seen(limit, 1, Document{Shares: map[string]int{"me": 4, "a": 1, "b": 1, "c": 1, "d": 1}}.Encode())
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := m.Admit(Names("build", "")...); !ok {
					b.Fatal("not admitted")
				}
				p, _, _ := m.Acquire(false, Names("build", "archive")...)
				if !p.Held() {
					b.Fatal("no permit")
				}
				m.Release(p)
				if len(m.Actions()) > 0 {
					b.Fatal("a job writes")
				}
			}
		})
	}
}
