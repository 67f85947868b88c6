// Package containers runs workerds as containers do, as the first process of a pid namespace that is stopped by TERM, a time
// to end, and KILL; and looks whether they contain what their jobs start. The tests are named after the scenarios that they
// show. They need unshare, setpriv and nsenter (util-linux), and for an ordinary user namespaces that such a one may make;
// what only root can do is said so and done without.
//
// SERIATIM_ROUNDS is how often each death is tried. Times are printed, not asserted.
package containers
