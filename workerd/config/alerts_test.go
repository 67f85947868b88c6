package config

import (
	"slices"
	"testing"
	"time"
)

func TestAlerts(t *testing.T) {
	cfg := mustLoad(t, Input{Data: []byte(minimal + `alerts:
  - {webhook: "https://hooks.slack.com/services/T1/B2/secret", format: slack, every: 1m, on: [job_dead]}
  - {command: [./page.sh, now]}
  - {webhook: "https://api.rollbar.com/api/1/item/", format: rollbar}
`), Env: []string{"SERIATIM_ALERTS_2_TOKEN=abc", "SERIATIM_ALERTS_1_EVERY=2m"}})
	if len(cfg.Alerts) != 3 || cfg.Alerts[0].Every != time.Minute || cfg.Alerts[1].Every != 2*time.Minute || cfg.Alerts[2].Token != "abc" {
		t.Errorf("%+v", cfg.Alerts)
	}
	if a := cfg.Alerts[0]; !a.Wants(AlertJobDead) || a.Wants(AlertNATSLost) || !cfg.Alerts[1].Wants(AlertNATSLost) {
		t.Error("wants the wrong events")
	}
	if !slices.Equal(cfg.Alerts[1].Command, []string{"./page.sh", "now"}) {
		t.Error(cfg.Alerts[1].Command)
	}
	for _, s := range cfg.Settings() {
		switch s.Key {
		case "alerts.0.webhook":
			if s.Value != "https://hooks.slack.com/(hidden)" || s.Origin != "w.yaml:4" {
				t.Error(s)
			}
		case "alerts.2.token":
			if s.Value != "(hidden)" || s.Origin != "env SERIATIM_ALERTS_2_TOKEN" {
				t.Error(s)
			}
		}
	}
}
