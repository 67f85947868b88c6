package alerts_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/workerd/alerts"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// counts gathers outcomes.
type counts struct {
	mu sync.Mutex
	n  map[alerts.Outcome]int
}

func (c *counts) add(o alerts.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[alerts.Outcome]int{}
	}
	c.n[o]++
}

func (c *counts) of(o alerts.Outcome) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[o]
}

func lost() alerts.Alert {
	return alerts.Alert{Event: "nats_lost", Level: "error", Text: "NATS is away"}
}

func back() alerts.Alert {
	return alerts.Alert{Event: "nats_back", Level: "info", Text: "NATS is back", Follows: "nats_lost"}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []alerts.Alert
		c := &counts{}
		h := alerts.New(alerts.Options{OnOutcome: c.add, Places: []alerts.Place{{
			Every: time.Minute, Send: func(_ context.Context, a alerts.Alert) error { got = append(got, a); return nil },
		}}})
		raise := func(a alerts.Alert) { h.Raise(a); synctest.Wait() }
		raise(back()) // no news: nobody was told of a loss
		raise(lost())
		raise(back())
		raise(back())
		for range 5 {
			raise(lost())
			raise(back())
		}
		raise(alerts.Alert{Event: "job_dead", About: "ci archive"})
		raise(alerts.Alert{Event: "job_dead", About: "ci restore"})
		raise(alerts.Alert{Event: "job_dead", About: "ci restore"})
		time.Sleep(time.Minute)
		raise(lost())
		raise(back())
		h.Stop(context.Background())
		var events []string
		for _, a := range got {
			events = append(events, a.Event)
		}
		if want := "nats_lost nats_back job_dead job_dead nats_lost nats_back"; strings.Join(events, " ") != want {
			t.Errorf("got %v, want %s", events, want)
		}
		if len(got) > 4 && got[4].HeldBack != 5 {
			t.Errorf("held back %d, want 5", got[4].HeldBack)
		}
		if c.of(alerts.Sent) != 6 || c.of(alerts.HeldBack) != 6 {
			t.Errorf("%v", c.n)
		}
	})
}

// A place that hangs holds up neither the caller nor other places, and fills a bounded queue.
func TestNeverWaits(t *testing.T) {
	c := &counts{}
	var quick sync.WaitGroup
	quick.Add(100)
	h := alerts.New(alerts.Options{OnOutcome: c.add, Queue: 100, Places: []alerts.Place{
		{Name: "slow", Send: func(ctx context.Context, _ alerts.Alert) error { <-ctx.Done(); return ctx.Err() }},
		{Name: "quick", Wants: func(e string) bool { return e == "nats_lost" }, Send: func(context.Context, alerts.Alert) error { quick.Done(); return nil }},
	}})
	for range 100 {
		h.Raise(lost())
	}
	quick.Wait()
	for range 10 {
		h.Raise(alerts.Alert{Event: "x"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	h.Stop(ctx)
	if c.of(alerts.Dropped) < 9 || c.of(alerts.Failed) < 100 {
		t.Errorf("%v", c.n)
	}
	h.Raise(lost()) // after the end: dropped
	h.Stop(context.Background())
}

func TestTriesAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []int
		want    alerts.Outcome
		tries   int
	}{
		"taken":       {[]int{204}, alerts.Sent, 1},
		"second try":  {[]int{503, 200}, alerts.Sent, 2},
		"third try":   {[]int{500, 429, 200}, alerts.Sent, 3},
		"never":       {[]int{500, 500, 500, 200}, alerts.Failed, 3},
		"refused":     {[]int{403, 200}, alerts.Failed, 1},
		"redirection": {[]int{302, 200}, alerts.Failed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tc.answers[tries])
				tries++
			}))
			defer srv.Close()
			send, err := alerts.Webhook{URL: srv.URL + "/secret"}.Sender()
			if err != nil {
				t.Fatal(err)
			}
			c := &counts{}
			var failure error
			h := alerts.New(alerts.Options{
				OnOutcome: c.add, Retry: time.Millisecond, Places: []alerts.Place{{Name: "hook", Send: send}},
				OnFailure: func(_ string, _ alerts.Alert, err error) { failure = err },
			})
			h.Raise(lost())
			h.Stop(context.Background())
			if c.of(tc.want) != 1 || tries != tc.tries {
				t.Errorf("%d tries, %v", tries, c.n)
			}
			if (failure != nil) != (tc.want == alerts.Failed) || failure != nil && strings.Contains(failure.Error(), "secret") {
				t.Error(failure)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	send, err := alerts.Webhook{URL: srv.URL + "/secret"}.Sender()
	if err != nil {
		t.Fatal(err)
	}
	if err := send(context.Background(), lost()); err == nil || strings.Contains(err.Error(), "secret") || errors.Is(err, alerts.ErrRefused) {
		t.Error(err)
	}
}

func TestForms(t *testing.T) {
	a := alerts.Alert{
		Event: "job_dead", Level: "error", Time: time.Unix(1700000000, 0), Text: "a job is dead: <disk> full", About: "ci archive",
		Worker: "w1", Host: "h1", PID: 7, Version: "1.0", HeldBack: 2, Detail: map[string]string{"queue": "ci", "error": "disk full"},
	}
	for name, tc := range map[string]struct {
		hook   alerts.Webhook
		path   string
		header [2]string
		want   []string // what the body has, by path
	}{
		"json": {alerts.Webhook{Token: "t"}, "/hook", [2]string{"Authorization", "Bearer t"}, []string{
			"event=job_dead", "level=error", "worker=w1", "held_back=2", "detail.queue=ci", "time=2023-11-14T22:13:20Z",
		}},
		"slack": {alerts.Webhook{Format: alerts.Slack}, "/hook", [2]string{"Authorization", ""}, []string{
			"text=seriatim: a job is dead: &lt;disk&gt; full (worker w1 on h1) [2 more like it were held back]",
			"attachments.0.color=danger", "attachments.0.fields.1.value=ci",
		}},
		"sentry": {
			alerts.Webhook{Format: alerts.Sentry, Token: "k"},
			"/hook",
			[2]string{"X-Sentry-Auth", "Sentry sentry_version=7, sentry_client=seriatim-workerd/1, sentry_key=k"},
			[]string{
				"level=error", "message.formatted=a job is dead: <disk> full", "tags.event=job_dead", "extra.queue=ci",
				"timestamp=2023-11-14T22:13:20.000Z", "fingerprint.2=ci archive", "server_name=h1",
			},
		},
		"rollbar": {alerts.Webhook{Format: alerts.Rollbar, Token: "k"}, "/hook", [2]string{"X-Rollbar-Access-Token", "k"}, []string{
			"data.level=error", "data.body.message.body=a job is dead: <disk> full", "data.server.host=h1", "data.timestamp=1.7e+09",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var path, header string
			var body map[string]any
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				if err := json.Unmarshal(text, &body); err != nil || r.Method != http.MethodPost {
					t.Errorf("%s: %v: %s", r.Method, err, text)
				}
				path, header = r.URL.Path, r.Header.Get(tc.header[0])
			}))
			defer srv.Close()
			tc.hook.URL = srv.URL + "/hook"
			send, err := tc.hook.Sender()
			if err != nil {
				t.Fatal(err)
			}
			if err := send(context.Background(), a); err != nil {
				t.Fatal(err)
			}
			if path != tc.path || header != tc.header[1] {
				t.Errorf("%s with %s: %s", path, tc.header[0], header)
			}
			for _, want := range tc.want {
				key, value, _ := strings.Cut(want, "=")
				if got := dig(body, key); got != value {
					t.Errorf("%s is %q, want %q", key, got, value)
				}
			}
		})
	}
}

func TestSentryDSN(t *testing.T) {
	var path, auth string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		path, auth = r.URL.Path, r.Header.Get("X-Sentry-Auth")
	}))
	defer srv.Close()
	send, err := alerts.Webhook{URL: strings.Replace(srv.URL, "://", "://abc@", 1) + "/sub/42", Format: alerts.Sentry}.Sender()
	if err != nil {
		t.Fatal(err)
	}
	if err := send(context.Background(), lost()); err != nil {
		t.Fatal(err)
	}
	if path != "/sub/api/42/store/" || !strings.HasSuffix(auth, "sentry_key=abc") {
		t.Error(path, auth)
	}
	if _, err := (alerts.Webhook{URL: "hooks"}).Sender(); err == nil {
		t.Error("no URL is a URL")
	}
}
