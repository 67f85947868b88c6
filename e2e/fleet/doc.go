// Package fleet is a Seriatim as processes, for those who look at it from outside: the tests in e2e and the demo in
// examples/history. It builds the real binaries, starts workerds, runs coordinator, stands between a workerd and its
// server, reads along in a record, and does to a queue what no user should.
//
// # Invariants
//
// Signals go to processes that this package started, by pid. Every process carries the fleet's folder in its
// environment, children included, so that Leftovers can tell whether any of them outlived its parent. On Linux a process
// started here dies with the process that started it.
//
// # On failure
//
// Everything returns its error; nothing is retried. A process that ends by itself is not started again: whoever waits
// for it learns how it ended, and its log says why.
package fleet
