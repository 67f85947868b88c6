// Command jobs prints the history as lines for `coordinator job import`.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/seriatim/seriatim/examples/history"
)

func main() {
	limit := flag.Int("limit", 0, "print only the first `N` operations (0: all)")
	shellEvery := flag.Int("shell-every", 20, "make every `N`th job one of kind shell (0: none)")
	flag.Parse()
	ops, err := history.All()
	if err == nil {
		if *limit > 0 && *limit < len(ops) {
			ops = ops[:*limit]
		}
		err = history.WriteImport(os.Stdout, ops, *shellEvery)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
