// Package proctest builds process trees that are hard to kill, for tests, and waits until they are dead.
//
// A test binary that uses it calls Main first thing in its TestMain, and is then itself the program of every process in
// a tree: Command is what to start. Every process ignores TERM, INT and HUP, and writes its number and start time to a
// folder before the tree counts as complete, so that a test knows whom to look for whatever it does to their names, groups
// and environments. Nothing here ends a tree: a test that fails may leave one, which ends by itself after five minutes.
package proctest
