// Package limits bounds how many jobs run at once across all workers: of a queue, of a kind, of an entity type. Like
// streams/lane it does no I/O, reads no clock and starts no goroutine: package engine feeds it events and carries out
// its actions.
//
// # How a limit is shared
//
// A limit has one Document in the queue's bucket of lanes: how many jobs each session may run under it, its share. It
// is changed by compare-and-set only, and watched by every worker. A session takes a share when it has jobs for it,
// keeps it from one job to the next, and gives it back when it has been idle for a moment, or at once when the document
// says that others want it: a session that gives writes the permit to the one that wants it most, in the same write.
// So a worker that is busy under a limit of its own size writes nothing per job. Lanes that wait (for a retry, a pause,
// a resume) hold nothing: a permit is held from just before a job's start to its end.
//
// # Invariants
//
// The shares of the sessions that live add up to no more than the limit, in every document whose writer knew that
// limit. A session runs no more jobs than its share in the newest document that it has seen, and no more than any
// write of its own, which may yet be stored, leaves it. Only the session itself takes from the share of a living
// session. So no more jobs than the limit run at once, whatever is lost, late or doubled. A share is removed by others
// only when its session said goodbye or was declared dead, which is when nothing of it can run any more (see package
// lane): a holder that vanishes gives its share back within the lease.
//
// When a limit is lowered nobody starts anything until enough jobs have ended. When one is introduced, or its document
// was removed, the jobs that run without a share are written down first; until each worker knows the limit it is no
// limit.
//
// # On failure
//
// A write without an answer is sent again; whether it was stored is told by the document, never by the answer alone.
// A document that cannot be read counts as empty; one of a newer version stops all starts under its limit. A watch that
// tells nothing is made up for by reads, seconds apart. A Machine belongs to one goroutine. Times are durations on one
// clock of the machine that goes on during suspend.
package limits
