// Package streams is everything that is said to JetStream to keep queues: connecting, a queue's streams and their
// policy, publishing and listing jobs, dead jobs, and the records of workers. Running jobs is the part of the
// packages below it (lane decides, engine acts).
//
// Invariants:
//
//   - The stream JOBS_<queue> is made last and removed first, so whoever can publish finds a complete queue.
//   - A queue is changed only by CreateQueue, EditQueue and DeleteQueue. Settings that differ from the policy are
//     reported (DriftError, Info.Drift) and never mended in passing.
//   - A queue of a newer schema is touched by nobody: every function returns ErrNewerSchema.
//   - A message that moves between streams carries no Nats-* header but the id of its move (subjects.MoveID), which
//     nobody can guess where publishers may write (subjects.SecretMoveID).
//
// Failures are returned, never logged: each error wraps one of the kinds below (for errors.Is) in a problem.Error with
// the operation and a hint. All functions may be called from any goroutine; they hold no state and start none that
// outlives the call. A context without a deadline gets one of RequestTimeout per request.
package streams

import "time"

// RequestTimeout bounds one request to the server when the context has no deadline of its own.
const RequestTimeout = 10 * time.Second
