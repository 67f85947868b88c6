// Package lane is the algorithm of Seriatim: what a holder does next with a lane, given what happened. It does no
// I/O, reads no clock and starts no goroutine: package engine feeds it events and carries out its actions, and package
// sim plays servers and several holders against it through millions of interleavings.
//
// # Parts
//
//   - Decide is the table that says what a claim record and a head mean together.
//   - Next is one lane's machine: next(state, event) → state, actions.
//   - Session is the machine of a holder's own session: what it may still believe in.
//   - Observer watches the sessions of others and says when one may be declared dead.
//   - Holder joins them for one worker: lanes, slots, pulls, session. One goroutine owns it.
//
// # Invariants
//
// A job is started only under a claim that was seen stored, for the head that was read at most Config.Window before,
// in a session whose own clock (counted from the first sending of its last confirmed write) has not run out. Claims of
// one lane replace each other by compare-and-set only. A foreign claim that runs is replaced only after its session
// said goodbye or was declared dead.
//
// # On failure
//
// A request without an answer is sent again: reads under a new number, writes under the same one, so that the server
// can tell that it had them already. When the session is over every group is killed and nothing is written for the
// old session's lanes until the groups are empty and a new session stands. Turns may get lost, doubled or late at any
// moment: that costs time, never order.
//
// Times are durations on one clock of the machine that goes on during suspend; its zero means nothing.
package lane
