package lifecycle_test

import (
	"maps"
	"testing"

	"github.com/seriatim/seriatim/lifecycle"
	"github.com/seriatim/seriatim/lifecycle/memory/hog"
)

func init() { otherRoles["hog"] = hog.Main }

// aHog is the configuration of a pool of hogs in Go.
func aHog(t *testing.T) lifecycle.Config {
	t.Helper()
	cfg := children(t, "hog")
	maps.Copy(cfg.Env, hog.Env())
	return cfg
}

// hogs runs a scenario with a Go child and with a Python one.
func hogs(t *testing.T, scenario func(t *testing.T, cfg lifecycle.Config)) {
	t.Helper()
	hog.Each(t, func(t *testing.T, command []string) {
		cfg := aHog(t)
		cfg.Command = command
		scenario(t, cfg)
	})
}
