package config

import (
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// The forms of a webhook's body.
const (
	FormatJSON    = "json"
	FormatSlack   = "slack"
	FormatSentry  = "sentry"
	FormatRollbar = "rollbar"
)

// What an alert can be about.
const (
	AlertNATSLost   = "nats_lost"
	AlertNATSBack   = "nats_back"
	AlertCrashLoop  = "crash_loop"
	AlertMemoryKill = "memory_kill"
	AlertJobDead    = "job_dead"
)

// AlertEvents lists all that an alert can be about.
func AlertEvents() []string {
	return []string{AlertNATSLost, AlertNATSBack, AlertCrashLoop, AlertMemoryKill, AlertJobDead}
}

// Alert is a place that is told of trouble by workerd itself, without NATS: a command or a webhook.
type Alert struct {
	// Command is started for each alert, with the alert as JSON on its standard input.
	Command []string `yaml:"command"`
	// Webhook gets a POST for each alert; for sentry it may be the DSN.
	Webhook string `yaml:"webhook"`
	// Format is the shape of the webhook's body.
	Format string `yaml:"format"`
	// Token is the webhook's: a bearer token, or Sentry's key, or Rollbar's access token.
	Token string `yaml:"token"`
	// On lists what it is told of; empty is everything.
	On []string `yaml:"on"`
	// Every is the time for which alerts about the same thing are held back after one.
	Every time.Duration `yaml:"every"`
}

// DefaultAlert is an alert that says nothing but where it goes.
func DefaultAlert() Alert {
	return Alert{Command: []string{}, Format: FormatJSON, On: []string{}, Every: 5 * time.Minute}
}

// Wants says whether the place is told of the event.
func (a Alert) Wants(event string) bool { return len(a.On) == 0 || slices.Contains(a.On, event) }

var alertsType = reflect.TypeFor[[]Alert]()

func alertPath(i int) string { return "alerts." + strconv.Itoa(i) }

// alerts reads the list of alerts.
func (d *decoder) alerts(node *yaml.Node) {
	if node.Kind != yaml.SequenceNode {
		d.wrong(node, "alerts", "a list of alerts")
		return
	}
	d.cfg.Alerts = nil
	for i, n := range node.Content {
		d.cfg.Alerts = append(d.cfg.Alerts, DefaultAlert())
		if n = d.resolve(n, alertPath(i)); n == nil {
			return
		}
		d.mapping(n, reflect.ValueOf(&d.cfg.Alerts[i]).Elem(), alertPath(i))
		d.cfg.origins[alertPath(i)] = Origin{FromFile, d.file, n.Line}
	}
}

func (v *validator) alert(i int) {
	a, path := v.cfg.Alerts[i], alertPath(i)
	switch {
	case len(a.Command) == 0 && a.Webhook == "":
		v.fail(path, "give a command or a webhook")
	case len(a.Command) > 0 && a.Webhook != "":
		v.fail(path, "a command and a webhook are two alerts: write two entries")
	case len(a.Command) > 0 && a.Command[0] == "":
		v.fail(path+".command", "has no program")
	}
	if a.Webhook != "" {
		if u, err := url.Parse(a.Webhook); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			v.fail(path+".webhook", "must be a URL such as https://host/path")
		}
	}
	v.oneOf(path+".format", a.Format, FormatJSON, FormatSlack, FormatSentry, FormatRollbar)
	if a.Format == FormatRollbar && a.Token == "" {
		v.fail(path+".token", "rollbar wants an access token")
	}
	for _, event := range a.On {
		v.oneOf(path+".on", event, AlertEvents()...)
	}
}

// hideWebhook shows which service a webhook belongs to; the rest of its URL is as good as a password.
func hideWebhook(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "(hidden)"
	}
	return u.Scheme + "://" + u.Host + "/(hidden)"
}
