package subjects_test

import (
	"errors"
	"testing"

	"github.com/seriatim/seriatim/subjects"
)

func TestDomains(t *testing.T) {
	for domain, want := range map[string][2]string{"": {"$JS.API.", ""}, "hub": {"$JS.hub.API.", "$JS.hub.API."}, "Hub-1_é": {"$JS.Hub-1_é.API.", "$JS.Hub-1_é.API."}} {
		if err := subjects.CheckDomain(domain); err != nil {
			t.Error(err)
		}
		if got := [2]string{subjects.PrefixAPI(domain), subjects.PrefixKV(domain)}; got != want {
			t.Errorf("%q: %q", domain, got)
		}
	}
	for _, domain := range []string{".", "a.b", "a b", "*", ">", "a\n", "\t", "a\x00"} {
		if err := subjects.CheckDomain(domain); !errors.Is(err, subjects.ErrDomain) {
			t.Errorf("%q: %v", domain, err)
		}
	}
}
