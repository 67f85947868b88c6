package deployments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seriatim/seriatim/streams/rights"
	"github.com/seriatim/seriatim/subjects"
)

// The shipped files say what `coordinator auth show` says.
func TestShippedRightsAreThePrintedOnes(t *testing.T) {
	grant := func(role rights.Role, queues ...subjects.Queue) rights.Grant {
		g, err := rights.For(role, queues, false)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	publisher := grant(rights.Publisher, ci)
	for file, want := range map[string][]string{
		"roles-ci.conf": {"\n\n" + rights.Permissions(publisher, grant(rights.Viewer, ci), grant(rights.Worker, ci))},
		"users.conf": {
			"\n" + rights.Permissions(grant(rights.Operator)),
			`{service: "` + publisher.Services[0] + `", accounts: [APPS]}`, `{stream: "` + publisher.Streams[0] + `", accounts: [APPS]}`,
			`{service: {account: SERIATIM, subject: "` + publisher.Services[0] + `"}}`, `{stream: {account: SERIATIM, subject: "` + publisher.Streams[0] + `"}}`,
		},
	} {
		text, err := os.ReadFile(filepath.Join("nats", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s lacks:\n%s", file, w)
			}
		}
	}
}

// Of the power cuts in docs/guarantees.md the shipped single server fears the smaller one.
func TestTheSingleServerSyncs(t *testing.T) {
	setPasswords(t)
	if o := shipped(t, "server.conf"); !o.SyncAlways {
		t.Error("sync_interval is not always")
	}
}
