package probes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/streams"
	"github.com/seriatim/seriatim/workerd/probes"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

type source struct {
	notLive, notReady []string
	started           bool
}

func (s *source) NotLive() []string  { return s.notLive }
func (s *source) NotReady() []string { return s.notReady }
func (s *source) Started() bool      { return s.started }
func (s *source) Report() probes.Report {
	return probes.Report{SessionRecord: streams.SessionRecord{State: "running"}, Live: len(s.notLive) == 0}
}

func serve(t *testing.T, src probes.Source) (base string) {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "seriatim_slots 1\n") })
	s := probes.NewServer(probes.Handler(src, metrics), func(err error) { t.Error(err) })
	l, err := probes.Listen(context.Background(), "127.0.0.1:0", probes.Patience{})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(l)
	t.Cleanup(s.Stop)
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestProbes(t *testing.T) {
	src := &source{}
	base := serve(t, src)
	check := func(path string, status int, body string) {
		t.Helper()
		if gotStatus, got := get(t, base+path); gotStatus != status || got != body {
			t.Errorf("%s: %d %q, want %d %q", path, gotStatus, got, status, body)
		}
	}
	check("/livez", 200, "ok\n")
	check("/readyz", 200, "ok\n")
	check("/startupz", 503, "it is still starting\n")
	src.started, src.notReady = true, []string{"it is quiet", "no child is up"}
	check("/startupz", 200, "ok\n")
	check("/readyz", 503, "it is quiet\nno child is up\n")
	check("/livez", 200, "ok\n")
	src.notLive = []string{"the loop is stuck"}
	check("/livez", 503, "the loop is stuck\n")
	check("/metrics", 200, "seriatim_slots 1\n")
	_, body := get(t, base+"/statusz")
	var report map[string]any
	if err := json.Unmarshal([]byte(body), &report); err != nil || report["state"] != "running" || report["live"] != false {
		t.Errorf("%v: %s", err, body)
	}
	if status, _ := get(t, base+"/nothing"); status != 404 {
		t.Error(status)
	}
}

func TestBusyAddress(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", natstest.Port(t)) // nobody else takes it when it is free
	other, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	// A bubble's clock stands still while anything runs, so the number of tries is exact.
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		_, err := probes.Listen(t.Context(), addr, probes.Patience{
			For: 100 * time.Millisecond, Every: 10 * time.Millisecond, OnBusy: func(error, time.Duration) { tries++ },
		})
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr) || problem.Hint(err) == "" || tries != 10 {
			t.Errorf("after %d tries: %v", tries, err)
		}
	})
	// It is taken over as soon as it is free.
	l, err := probes.Listen(context.Background(), addr, probes.Patience{
		For: time.Minute, Every: time.Millisecond, OnBusy: func(error, time.Duration) { other.Close() },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := probes.Listen(context.Background(), "nowhere.invalid:1", probes.Patience{For: time.Minute, Every: time.Hour}); err == nil {
		t.Error("listens nowhere")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := probes.Listen(ctx, addr, probes.Patience{For: 2 * time.Hour, Every: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
