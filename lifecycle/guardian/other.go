//go:build !linux

package guardian

import (
	"os"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle/proc"
)

// Supported says whether this system can have a guardian. Without one the program runs as a single process, and contains
// process groups only.
const Supported = false

// Run only says that there is no guardian here; it has nothing to run.
func Run(o Options) int {
	o.event(Event{Kind: EventUnguarded, Err: problem.New("guard the engine", proc.ErrUnsupported, "run workerd on Linux")})
	return 1
}

// Usable has nothing to say here.
func Usable() error { return nil }

func attachHere(string) (in, out *os.File, err error) { return nil, nil, proc.ErrUnsupported }

func startOf(int) uint64 { return 0 }
