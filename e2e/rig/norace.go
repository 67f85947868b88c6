//go:build !race

package rig

// raceEnabled says that the tests run with the race detector: workerd is built with it too.
const raceEnabled = false
