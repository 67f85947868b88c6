package streams_test

import (
	"context"
	"testing"
	"time"

	"github.com/seriatim/seriatim/internal/leaks"
	"github.com/seriatim/seriatim/internal/natstest"
	"github.com/seriatim/seriatim/subjects"
)

func TestMain(m *testing.M) {
	natstest.Main()
	leaks.VerifyTestMain(m, natstest.LeakOptions()...)
}

const ci = subjects.Queue("ci")

// within is a context that bounds a test that hangs; nothing is ever this slow.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
