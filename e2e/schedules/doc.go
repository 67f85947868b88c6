// Package schedules shows, with real servers and workers that are killed, that each time of a schedule and each delayed
// job fires once, and none early. How late they are is printed, and not asserted.
package schedules
