// Package operator is how a command touches lanes without running beside their jobs: it takes part in the protocol of
// claims as a holder of its own, with a session that others can see and, if the command dies, declare dead.
//
// A job must never be taken from JOBS while somebody runs it: its absence is what frees a lane. So whoever removes jobs
// first gets the lane's claim, in the standing `held`. While it is held no worker starts anything in the lane; when it
// is released the lane stands as before, less the jobs that were removed.
//
// # On failure
//
// A lane whose job runs is not waited for longer than the context allows; its jobs are spared and counted. A command
// that dies holding a lane keeps it until its lease is over; nothing is counted against the job. Deletes are sent only
// while the session stands.
package operator
