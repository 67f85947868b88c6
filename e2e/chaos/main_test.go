package chaos

import (
	"testing"

	"github.com/seriatim/seriatim/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
