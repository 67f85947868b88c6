// Command coordinator is the admin tool: queues, jobs, the dead, workers, the daemon's configuration, and a whole
// system in one process to try things out. All of it is in the packages below; this file joins them to the system.
package main

import (
	"os"

	"github.com/seriatim/seriatim/coordinator/cli"
)

func main() { os.Exit(cli.Main()) }
