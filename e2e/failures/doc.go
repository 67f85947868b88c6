// Package failures lets jobs fail in every way that there is, on the real binaries, and looks at what is counted for them:
// in the claim of their lane, and in the dead letter. Jobs that take their workers down, deploys in the middle of a job,
// hosts that vanish, and many lanes that wait for a retry beside those that work.
//
// SERIATIM_FULL=1 runs them in full size. Times and sizes are printed, and asserted only where something is many times off.
package failures
