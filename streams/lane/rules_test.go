package lane

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestBroken(t *testing.T) {
	if len(AllRules()) != int(ruleCount) {
		t.Fatal("a rule is missing in the list")
	}
	for _, r := range AllRules() {
		b, err := ParseBroken(r.String())
		if err != nil || r.String() == "" || b != Break(r) || !b.Off(r) || b.String() != r.String() {
			t.Errorf("rule %d, %q: %v, %v", r, r, b, err)
		}
	}
	b, err := ParseBroken("look,stolen-mark")
	if err != nil || b != Break(RuleLook, RuleStolenMark) || b.Off(RuleAudit) || b.String() != "stolen-mark,look" {
		t.Errorf("%v, %v", b, err)
	}
	if _, err := ParseBroken("lok"); err == nil || !strings.Contains(err.Error(), `"lok"`) || !strings.Contains(err.Error(), "look") {
		t.Errorf("an unknown rule gives %v", err)
	}
	if b, err := ParseBroken(""); b != 0 || err != nil || BuildBroken() != 0 {
		t.Error("without a name a rule is off")
	}
}

func TestRecord(t *testing.T) {
	r := Record{
		State: Waiting, Session: "s", Job: 7, Created: 1, Attempt: 3, Counts: Counts{Attempts: 1, Lost: 1}, Stolen: true,
		NotBefore: 5000, Error: "disk full", Cause: "failed",
	}
	got, err := DecodeRecord(9, r.Encode())
	r.V, r.Seq = recordVersion, 9
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	if got.Counts.Attempt() != 3 || got.Due(time.UnixMilli(4000)) != time.Second || (Counts{}).Attempt() != 1 || !(Counts{}).Zero() {
		t.Error("it counts wrongly")
	}
	if _, err := DecodeRecord(9, []byte(`{"v":99,"state":"new"}`)); !errors.Is(err, ErrNewerRecord) {
		t.Errorf("a newer record gives %v", err)
	}
	if _, err := DecodeRecord(9, []byte(`no`)); err == nil || errors.Is(err, ErrNewerRecord) || !strings.Contains(err.Error(), "claim 9") {
		t.Errorf("no record gives %v", err)
	}
	if got, err := DecodeRecord(9, []byte(`{"v":1,"state":"done","other":1}`)); err != nil || got.State != Done {
		t.Errorf("an unknown key gives %+v, %v", got, err)
	}
}
