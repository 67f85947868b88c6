// Package sim plays one server and several holders against each other in virtual time, and drives the very lane.Holder
// that the product runs. One seed is one history: the same seed gives the same events in the same order on any machine.
//
// # What is played
//
// The server: JOBS with its copies to TURNS (lost or late at times), TURNS with deliveries, delays, ack waits and
// forgetting, CLAIMS with compare-and-set, expiry and the window of message ids, the sessions' records with their watch,
// and the dead letters. Replicated, readers that do not ask the leader see the past. The network between each holder
// and the server delays, loses and keeps back each message by itself, so that a delete may arrive long after its sender
// is gone, but at most Profile.LateMax after it was sent. Holders are paused, killed, stopped and cut off. Jobs end in
// every way there is, and some take their holder down each time. Operators pause and resume lanes, cancel jobs and
// release lanes that a dead job has halted; failed jobs pass through the schedule to the end of their lane.
//
// # What is assumed
//
// Clocks run at one rate (each holder's has a zero of its own), and killing a group takes less than the session's
// margin. A guardian kills the groups of an engine that is paused past its session's end, or past a claim's.
//
// # Invariants
//
// At each step: no two processes of one entity; a job starts only when no earlier one of its lane is left; fences grow;
// a job whose delete was confirmed, or that ended well in a session that still stands, does not start again; a job is
// deleted only when it ended well, was cancelled, or stands in the dead letters or the schedule; one dead letter and one
// place in the schedule a job within the window; a job that takes its holders down is dead after a bounded number of
// starts; a paused lane starts nothing once its holders had time to hear of it. At the end, when faults have stopped: every lane is
// empty in bounded time. See check.go.
//
// # On failure
//
// Run returns a *Violation with seed, step, virtual time and the last events of the lane: the history is played a second
// time to write them down, so that ordinary runs pay nothing for it.
package sim
