// Package deaths kills workerds of every kind in every way, and looks what is left of their jobs' processes, and of their
// jobs. The processes are trees that do what they can to outlive their parents (internal/proctest); the jobs are judged by
// the record that they keep themselves. What only the guardian has to do with is tested in lifecycle/guardian.
//
// SERIATIM_ROUNDS is how often each death is tried. Times are printed, not asserted.
package deaths
