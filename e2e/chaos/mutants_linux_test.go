package chaos

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/seriatim/seriatim/e2e/rig"
)

// mutant is a way to show what a workerd without a rule does.
type mutant struct {
	rule    string
	servers int
	// faults are done to it again and again, all in a second; with none it is the cut-off leader.
	faults []Kind
	// slow is how many times longer the jobs of hot entities take, stubborn that no job heeds SIGTERM.
	slow     int
	stubborn bool
	// rate is how many jobs are published a second; 0 is 60.
	rate float64
}

// mutants are those that chaos shows within a minute, the quickest first.
var mutants = []mutant{
	{rule: "claim-cas", servers: 1, faults: []Kind{TurnsRemove}, slow: 10},
	{rule: "empty-group", servers: 1, faults: []Kind{Deploy}, slow: 30, rate: 25, stubborn: true},
	{rule: "kill-at-end", servers: 3},
	{rule: "claim-cas", servers: 3, faults: []Kind{TurnsRemove, StepDown}, slow: 10},
}

// Workerds that were built without a rule fail under chaos, and the checkers notice; in full size whole ones stand
// the very same.
func TestMutants(t *testing.T) {
	t.Parallel()
	for _, m := range mutants[:rig.Size(1, len(mutants))] {
		for _, broken := range []string{m.rule, ""}[:rig.Size(1, 2)] {
			t.Run(fmt.Sprintf("%s on %d servers, without %q", m.rule, m.servers, broken), func(t *testing.T) {
				found := m.play(t, broken)
				for tries := 1; broken != "" && len(found) == 0 && tries < 3; tries++ { // nothing may have met, as it happened
					found = m.play(t, broken)
				}
				t.Logf("found: %v", found)
				if (len(found) > 0) != (broken != "") {
					t.Errorf("%d problems were found", len(found))
				}
			})
		}
	}
}

// play returns what was found.
func (m mutant) play(t *testing.T, broken string) []string {
	t.Helper()
	if m.faults == nil {
		c := newCutOff(t, broken)
		c.play(rig.Rafts())
		for _, h := range []*rig.Host{c.near, c.far} {
			h.Stop()
		}
		if rep := c.Judge(); !rep.OK() {
			return []string{rep.String()}
		}
		return nil
	}
	set := setting{
		Shape: Shape{Servers: m.servers, Workers: 2, Length: rig.Size(8*time.Second, 12*time.Second)}, seed: 1, lease: 6 * time.Second, broken: broken, stubborn: m.stubborn,
		load: load{publishers: 4, rate: cmp.Or(m.rate, 60), hot: 8, wide: 8, slow: m.slow},
	}
	for at := time.Second; at < set.Length; at += time.Second {
		for i, k := range m.faults {
			set.plan = append(set.plan, Fault{Kind: k, At: at + time.Duration(i)*300*ms, Worker: int(at/time.Second) % 2, Office: OfDeliveries})
		}
	}
	res := newWorld(t, set).run()
	t.Logf("\n%s%s", Header(), res.Row("-"))
	return res.Problems()
}
