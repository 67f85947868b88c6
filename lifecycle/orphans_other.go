//go:build !linux

package lifecycle

func (o *Orphans) reapDead() {}

// clear finds nothing: orphans do not become ours here.
func (k *kin) clear(string) bool { return true }
