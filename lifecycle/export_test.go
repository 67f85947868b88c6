package lifecycle

// UseRoots has a pool read its process table, and its container, from elsewhere.
func UseRoots(c *Config, proc, self string) { c.procRoot, c.procSelf = proc, self }

// Looks is how many checks the pool's guard has made.
func Looks(p Pool) uint64 { return guardOf(p).looks.Load() }

// Resident is the sum of what the guard last saw as resident.
func Resident(p Pool) (sum int64) {
	g := guardOf(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, size := range g.sizes {
		sum += size.Resident
	}
	return sum
}

func guardOf(p Pool) *guard {
	switch p := p.(type) {
	case *childPool:
		return p.guard
	case *execPool:
		return p.guard
	}
	return nil
}
