// Package memory looks at the memory guard from outside: real workerds with children in Go and in Python that leak, spike,
// share, and start processes that do. Whether the right child went, and what became of the jobs, is read where operators
// read it: the log, the list of workers, the dead jobs. What the guard decides in every case is tested in lifecycle and
// lifecycle/memory.
//
// Nothing here can see the guard look at a child that it leaves alone. So every test that wants nothing to happen has
// something happen after it, to the same child or beside it.
//
// It also prints what the guard, the guardian and an idle engine cost. Numbers are printed, not asserted.
package memory
