// Package chaos runs a whole Seriatim while everything around it fails: real server processes, one or three, real
// workerds with real children, publishers, and a seeded plan of faults. What happened is judged from outside, by what
// publishers and children saw.
//
//	go test ./e2e/chaos                                             # a short seed on three servers, and single cases
//	SERIATIM_CHAOS_SEEDS=1-10 SERIATIM_CHAOS_SERVERS=3 SERIATIM_CHAOS_MINUTES=3 \
//	SERIATIM_CHAOS_PROOF=../../docs/proof go test -timeout 0 -run TestChaos ./e2e/chaos
//	SERIATIM_FULL=1 go test -timeout 0 ./e2e/chaos                  # all cases in the size that their names promise
//
// SERIATIM_KEEP=<folder> keeps the record and all logs.
//
// # The parts
//
// plan.go makes a seed's faults, a pure function: servers that are killed, stopped, cut off from their peers or slow,
// leaders that step down; workerds that are cut off, slow, deployed anew, and whose guardian, engine and children are
// killed and stopped; turns that are purged and removed. All ways between two servers, and between a workerd and a server,
// lead through a proxy (package fleet), so that nothing but the faults needs rights that an ordinary user has not. At most
// one server is away at a time, but for the times when all are killed at once. When the last fault is over, everything has to
// come to its end.
//
// The judges are outside the system and know nothing of NATS: e2e/record (no two runs of an entity met, by witness and
// by locks of the kernel; the order of the stream; fences; nothing lost; each run once more explained by a fault),
// linear.go (each entity's history is linearizable, without trust in the stream's order) and idle.go (no lane with work is
// forgotten).
//
// # On failure
//
// A run goes on to its end whatever the judges will say; its story, its table row and the ends of all logs are printed. The
// same seed gives the same faults at the same times, but processes and networks do as they like: what a seed found once it
// may not find again.
package chaos
