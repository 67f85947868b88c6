package engine

import (
	"fmt"
	"testing"
)

// The subject on which a turn is answered, in both forms of the server.
func FuzzReadAckSubject(f *testing.F) {
	f.Add("$JS.ACK.TURNS_ci.workers.1.2.3.4.5", uint64(2), 1, 5)
	f.Add("$JS.ACK.hub.account.TURNS_ci.workers.1.2.3.4.5.random", uint64(1<<63), 7, 0)
	f.Add("$JS.ACK.....", uint64(0), 0, 0)
	f.Fuzz(func(t *testing.T, subject string, seq uint64, delivered, pending int) {
		readAckSubject(subject)
		if delivered < 0 || pending < 0 {
			return
		}
		for _, s := range []string{
			fmt.Sprintf("$JS.ACK.TURNS_ci.workers.%d.%d.9.8.%d", delivered, seq, pending),
			fmt.Sprintf("$JS.ACK.hub.acc.TURNS_ci.workers.%d.%d.9.8.%d.rnd", delivered, seq, pending),
		} {
			gotSeq, gotDelivered, gotPending, ok := readAckSubject(s)
			if !ok || gotSeq != seq || gotDelivered != delivered || gotPending != pending {
				t.Errorf("%s: %d, %d, %d, %v", s, gotSeq, gotDelivered, gotPending, ok)
			}
		}
	})
}
