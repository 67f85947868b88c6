package memory

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCheck is one check of 50 children that have started a process each. core% is what that is of a core when it is
// done every 3 s.
func BenchmarkCheck(b *testing.B) {
	const children, every = 50, 3 * time.Second
	var leaders []int
	for range children {
		c := exec.Command("sh", "-c", "sleep 1000 & wait")
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Wait()
		})
		leaders = append(leaders, c.Process.Pid)
	}
	for name, limit := range map[string]int64{"below their limits": 1 << 40, "above, read exactly": 1} {
		b.Run(name, func(b *testing.B) {
			r := NewReader("/proc")
			defer r.Close()
			processes := 0
			for b.Loop() {
				if err := r.Scan(leaders, nil); err != nil {
					b.Fatal(err)
				}
				for _, pid := range leaders {
					if _, ok := r.Size(pid, limit); !ok {
						b.Fatal("a child cannot be seen")
					}
				}
			}
			for _, t := range r.trees {
				processes += len(t.pids)
			}
			b.ReportMetric(float64(processes), "processes")
			b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N)/every.Seconds(), "core%")
		})
	}
}
