package lifecycle_test

import (
	"errors"
	"os"
	"os/user"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/internal/problem"
	"github.com/seriatim/seriatim/lifecycle"
)

func TestAnUnknownUser(t *testing.T) {
	for _, cfg := range []lifecycle.Config{script("exit 0"), children(t, "good")} {
		cfg.User = "no-such-user-here"
		h := prepare(t, cfg)
		var unknown user.UnknownUserError
		if err := h.Start(t.Context()); !errors.As(err, &unknown) || problem.Hint(err) == "" {
			t.Errorf("%s: start gave %v", cfg.Mode, err)
		}
	}
}

func TestProcessesRunAsAnotherUser(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	cfg := script(`echo "$(id -u) $(id -g) $HOME $USER $LOGNAME $MINE"`)
	cfg.Env = map[string]string{"MINE": "yes", "LOGNAME": "other"}
	for _, name := range []string{nobody.Username, nobody.Uid} {
		cfg.User = name
		if os.Geteuid() != 0 {
			if err := prepare(t, cfg).Start(t.Context()); !errors.Is(err, lifecycle.ErrNotRoot) || problem.Hint(err) == "" {
				t.Errorf("start gave %v", err)
			}
			continue
		}
		h := start(t, cfg)
		h.want(h.run("", ""), lifecycle.Done, "")
		want := strings.Join([]string{nobody.Uid, nobody.Gid, nobody.HomeDir, nobody.Username, "other", "yes"}, " ")
		if got := h.line("").Text; got != want {
			t.Errorf("it ran as %q, not %q", got, want)
		}
	}
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	cfg.User = self.Uid
	h := start(t, cfg)
	h.want(h.run("", ""), lifecycle.Done, "")
}
