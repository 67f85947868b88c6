// Package version says which build this is and which schemas it speaks. It is the one place for these numbers, so
// that the rules for mixed versions during a rolling upgrade have one source.
package version

import "runtime/debug"

// Version is set by the build (-ldflags "-X …version.Version=v1.2.3"); a plain `go build` is "dev".
var Version = "dev"

const (
	// Schema is the version of a queue's streams and records. A daemon refuses a queue with a newer schema.
	Schema = 1
	// Protocol is the version of frames and of heartbeat records. Unknown keys are ignored on both sides, so it
	// grows only when an old reader would misunderstand.
	Protocol = 1
)

// String is the version with the commit that the Go tool stamped into the build, when there is one.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return Version + " (" + s.Value[:12] + ")"
		}
	}
	return Version
}
