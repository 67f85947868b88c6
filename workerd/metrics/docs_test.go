package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/seriatim/seriatim/streams/engine"
	"github.com/seriatim/seriatim/workerd/metrics"
)

// The documentation has every metric, and no other.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| .*$`)
	name := regexp.MustCompile("`(seriatim_[a-z_]+)`")
	var documented []string
	for _, line := range row.FindAllString(string(text), -1) {
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			documented = append(documented, m[1])
		}
	}
	m := metrics.New(busy)
	for _, kind := range []engine.EventKind{engine.EventTurn, engine.EventStart, engine.EventEnd, engine.EventDead} {
		m.Observe(engine.Event{Kind: kind, Queue: "ci", Outcome: "done"})
	}
	m.Restarted("p", "exit")
	m.Alerted("sent")
	var have []string
	for _, help := range regexp.MustCompile(`(?m)^# HELP (\S+) `).FindAllStringSubmatch(scrape(m), -1) {
		have = append(have, help[1])
	}
	slices.Sort(documented)
	slices.Sort(have)
	if !slices.Equal(documented, have) {
		t.Errorf("documented: %v\nthere are:  %v", documented, have)
	}
}
