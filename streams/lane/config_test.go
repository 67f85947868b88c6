package lane

import (
	"testing"
	"time"
)

// Under every lease that a policy may have, a claim is rewritten well before its holder stops believing in it, also when
// the first two answers are lost.
func TestClaimsAreRewrittenInTimeUnderAnyLease(t *testing.T) {
	for lease := 5 * time.Second; lease <= 10*time.Minute; lease += time.Second {
		c := DefaultConfig(lease)
		if left := c.ClaimTTL - c.ClaimMargin() - c.LongAfter; left < 3*c.AnswerWait {
			t.Errorf("lease %s: a claim is first rewritten %s before it is over", lease, left)
		}
		if left := c.LongTTL - c.ClaimMargin() - c.LongEvery; left < 3*c.AnswerWait {
			t.Errorf("lease %s: a long claim is rewritten %s before it is over", lease, left)
		}
		if m := c.ClaimMargin(); m != min(c.Margin, 12*time.Second) {
			t.Errorf("lease %s: the margin of a claim is %s", lease, m)
		}
	}
}
