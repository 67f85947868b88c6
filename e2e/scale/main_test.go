// Package scale looks at a queue in which very many lanes wait: what the audit and the sweep cost there, what publishers
// feel of them, how much memory server and worker take, and how fast turns that got lost are replaced. Numbers are
// printed; asserted is only that no lane is left without a turn.
//
//	SERIATIM_LANES=1000000 go test -count=1 -v -timeout 60m ./e2e/scale
package scale

import (
	"testing"

	"github.com/seriatim/seriatim/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
