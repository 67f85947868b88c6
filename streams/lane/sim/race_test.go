//go:build race

package sim

// slowdown divides the rounds: the race detector finds nothing more in a history that one goroutine plays.
const slowdown = 10
