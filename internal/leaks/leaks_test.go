package leaks

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A goroutine that ends late is none that is left over; goleak itself does not wait so long.
func TestWhatEndsLateIsNoLeak(t *testing.T) {
	others := goleak.IgnoreCurrent()
	end := make(chan struct{})
	go func() { <-end }()
	if goleak.Find(others) == nil {
		t.Error("a goroutine that waits was not seen")
	}
	late := time.AfterFunc(time.Second, func() { close(end) })
	defer late.Stop()
	if err := find(time.Minute, []goleak.Option{others}); err != nil {
		t.Error(err)
	}
}

func TestWhatStaysIsALeak(t *testing.T) {
	others := goleak.IgnoreCurrent()
	end := make(chan struct{})
	go func() { <-end }()
	if err := find(time.Millisecond, []goleak.Option{others}); err == nil || !strings.Contains(err.Error(), "TestWhatStaysIsALeak") {
		t.Error(err)
	}
	close(end)
	if err := find(time.Minute, []goleak.Option{others}); err != nil {
		t.Error(err)
	}
}
