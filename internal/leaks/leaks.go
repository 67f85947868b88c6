// Package leaks looks for goroutines that outlive the tests of a package, by goleak, with patience.
//
// Who ends a goroutine does not always wait for it: that of a connection ends when it sees that the connection is closed,
// and needs a processor to see it. goleak gives that less than half a second, which is little on a machine with more to
// do than it can. Here a goroutine is left over when it is there after half a minute. One that ends costs no time.
package leaks

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// bound is how long goroutines may take to end.
const bound = 30 * time.Second

// VerifyTestMain runs the tests of a package, and exits with their code, or with 1 when they leave goroutines behind.
func VerifyTestMain(m goleak.TestingM, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		if err := Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Find returns an error that shows the goroutines that are left over, if there are any.
func Find(options ...goleak.Option) error { return find(bound, options) }

func find(within time.Duration, options []goleak.Option) error {
	for end := time.Now().Add(within); ; {
		err := goleak.Find(options...) // takes its time itself
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
