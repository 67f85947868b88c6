//go:build !race

package life

// raceEnabled says that the tests run with the race detector: workerd is built with it too.
const raceEnabled = false
