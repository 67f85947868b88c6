// Package engine carries out what package lane decides: it talks to JetStream for one worker, and hands jobs to a
// Runner.
//
// One goroutine, the loop, owns the lane.Holder and all that belongs to it. Answers, deliveries and finished jobs reach
// it through an inbox in batches; each batch is followed by the actions it led to, so that reads of many lanes travel
// as one request. Beside the loop there are a watch on the session records, the audit, the sweep, and the fence, which
// kills what runs when the loop itself is stuck past the end of its session.
//
// # On failure
//
// A request that cannot be sent counts as failed and is tried again by the lane's machine. A server that is away for
// less than the margin of a session costs nothing; for longer, all jobs are killed and handed back in a new session.
// Stop hands everything back before it returns, as far as its context allows; what it cannot hand back the lease does.
package engine
