package alerts

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Format is the shape of a webhook's body.
type Format string

// The formats.
const (
	JSON    Format = "json"
	Slack   Format = "slack"
	Sentry  Format = "sentry"
	Rollbar Format = "rollbar"
)

// Webhook is a place that takes alerts by POST.
type Webhook struct {
	// URL is where to post; for Sentry it may be the DSN.
	URL    string
	Format Format
	Token  string
}

// Sender makes the function that posts. The error says what is wrong with the URL.
func (w Webhook) Sender() (func(context.Context, Alert) error, error) {
	target, err := w.target()
	if err != nil {
		return nil, err
	}
	// A transport of its own without idle connections: alerts are rare, and nothing is left over when workerd ends.
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, a Alert) error {
		body, err := w.body(a)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.url, bytes.NewReader(body))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", userAgent)
		for name, value := range target.headers {
			req.Header.Set(name, value)
		}
		res, err := client.Do(req)
		if err != nil {
			return hideURL(err)
		}
		defer res.Body.Close()
		said, _ := io.ReadAll(io.LimitReader(res.Body, 512)) // only for the error
		switch {
		case res.StatusCode < 300:
			return nil
		case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
			return fmt.Errorf("it answered %s: %s", res.Status, oneLine(said))
		default:
			return fmt.Errorf("%w: it answered %s: %s", ErrRefused, res.Status, oneLine(said))
		}
	}, nil
}

const userAgent = "seriatim-workerd"

type target struct {
	url     string
	headers map[string]string
}

// target is where and as whom to post.
func (w Webhook) target() (target, error) {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" {
		return target{}, fmt.Errorf("the webhook is no URL")
	}
	t := target{url: w.URL, headers: map[string]string{}}
	switch w.Format {
	case Sentry:
		key := w.Token
		if u.User != nil { // a DSN: https://key@host/path/project
			if key == "" {
				key = u.User.Username()
			}
			path, project := "", strings.Trim(u.Path, "/")
			if i := strings.LastIndexByte(project, '/'); i >= 0 {
				path, project = "/"+project[:i], project[i+1:]
			}
			u.User, u.Path = nil, path+"/api/"+project+"/store/"
			t.url = u.String()
		}
		t.headers["X-Sentry-Auth"] = "Sentry sentry_version=7, sentry_client=" + userAgent + "/1, sentry_key=" + key
	case Rollbar:
		t.headers["X-Rollbar-Access-Token"] = w.Token
	default:
		if w.Token != "" {
			t.headers["Authorization"] = "Bearer " + w.Token
		}
	}
	return t, nil
}

// hideURL takes the address out of an error of the HTTP client: it is as good as a password.
func hideURL(err error) error {
	if u, ok := err.(*url.Error); ok { //nolint:errorlint // the client returns exactly this
		return u.Err
	}
	return err
}

func oneLine(b []byte) string { return strings.Join(strings.Fields(string(b)), " ") }
