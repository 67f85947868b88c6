package alerts

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// body is an alert in the webhook's form.
func (w Webhook) body(a Alert) ([]byte, error) {
	switch w.Format {
	case Slack:
		return json.Marshal(slackBody(a))
	case Sentry:
		return json.Marshal(sentryBody(a))
	case Rollbar:
		return json.Marshal(rollbarBody(a))
	default:
		return json.Marshal(a)
	}
}

// summary is the alert in one line, with who says it.
func (a Alert) summary() string {
	s := fmt.Sprintf("%s (worker %s on %s)", a.Text, a.Worker, a.Host)
	if a.HeldBack > 0 {
		s += fmt.Sprintf(" [%d more like it were held back]", a.HeldBack)
	}
	return s
}

var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slackBody is what Slack's incoming webhooks take, and those that imitate them.
func slackBody(a Alert) any {
	color := map[string]string{"error": "danger", "warning": "warning", "info": "good"}[a.Level]
	type field struct {
		Title string `json:"title"`
		Value string `json:"value"`
		Short bool   `json:"short"`
	}
	fields := []field{}
	for _, k := range slices.Sorted(maps.Keys(a.Detail)) {
		fields = append(fields, field{k, slackEscape.Replace(a.Detail[k]), len(a.Detail[k]) < 40})
	}
	return map[string]any{
		"text": slackEscape.Replace("seriatim: " + a.summary()),
		"attachments": []any{map[string]any{
			"color": color, "fallback": slackEscape.Replace(a.summary()), "fields": fields, "ts": a.Time.Unix(),
		}},
	}
}

// sentryBody is an event of Sentry's store endpoint. Events about the same thing are one issue.
func sentryBody(a Alert) any {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return map[string]any{
		"event_id": hex.EncodeToString(id[:]), "timestamp": a.Time.UTC().Format("2006-01-02T15:04:05.000Z"),
		"level": a.Level, "platform": "other", "logger": "seriatim", "server_name": a.Host, "release": a.Version,
		"message":     map[string]string{"formatted": a.Text},
		"tags":        map[string]string{"event": a.Event, "worker": a.Worker},
		"extra":       extra(a),
		"fingerprint": []string{"seriatim", a.Event, a.About},
	}
}

// rollbarBody is an item of Rollbar's API; the token travels in a header.
func rollbarBody(a Alert) any {
	return map[string]any{"data": map[string]any{
		"environment": "production", "level": a.Level, "timestamp": a.Time.Unix(), "platform": "linux", "framework": "seriatim",
		"body":        map[string]any{"message": map[string]any{"body": a.Text, "event": a.Event, "detail": extra(a)}},
		"server":      map[string]any{"host": a.Host, "pid": a.PID, "code_version": a.Version},
		"fingerprint": "seriatim " + a.Event + " " + a.About,
		"title":       "seriatim: " + a.summary(),
	}}
}

func extra(a Alert) map[string]any {
	m := map[string]any{"pid": a.PID, "held_back": a.HeldBack}
	for k, v := range a.Detail {
		m[k] = v
	}
	return m
}

// Encode is the alert as JSON, in the form of the format json.
func (a Alert) Encode() ([]byte, error) { return json.Marshal(a) }
