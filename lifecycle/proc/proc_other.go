//go:build !linux

package proc

// Read answers ErrUnsupported, as everything here.
func Read(int) (Stat, error) { return Stat{}, ErrUnsupported }

// Is cannot tell.
func Is(int, uint64) bool { return false }

// All lists nothing.
func All() ([]int, error) { return nil, ErrUnsupported }

// Each calls nothing.
func Each(func(Stat)) error { return ErrUnsupported }

// Children lists nothing.
func Children() ([]int, error) { return nil, ErrUnsupported }

// Adopted lists nothing.
func Adopted() ([]int, error) { return nil, ErrUnsupported }

// Env reads nothing.
func Env(int, string) (value string, empty bool, err error) { return "", false, ErrUnsupported }

// Args reads nothing.
func Args(int) []string { return nil }

// Signals reads nothing.
func Signals(int) (caught, blocked uint64, err error) { return 0, 0, ErrUnsupported }

// Namespace knows none.
func Namespace(int) (uint64, error) { return 0, ErrUnsupported }

// AdoptOrphans is not possible here: orphans go to the system's first process.
func AdoptOrphans() error { return ErrUnsupported }

// SetName is not possible here.
func SetName(string) error { return ErrUnsupported }

// SetBadge is not possible here.
func SetBadge(uint64) error { return ErrUnsupported }

// Badge reads nothing.
func Badge(int) (badge uint64, ok bool) { return 0, false }

// Below lists nothing.
func Below([]int) []Stat { return nil }

// Kill is not possible here.
func Kill(Stat) error { return ErrUnsupported }

// Bare cannot tell.
func Bare(int) bool { return false }
