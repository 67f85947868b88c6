package lane

import (
	"errors"
	"reflect"
	"testing"
)

// A claim that can be read is written and read again as the same; a newer one is none.
func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []Record{
		{State: Running, Session: "s", Job: 1, Created: 2, Attempt: 1},
		{State: Waiting, Job: 1 << 60, Counts: Counts{Attempts: 2, Lost: 1}, Stolen: true, NotBefore: 5, Error: "no\n", Cause: "failed"},
		{State: Halted, Dying: true, Fence: 9},
	} {
		f.Add(uint64(3), r.Encode())
	}
	f.Add(uint64(0), []byte(`{"v":2,"state":"running"}`))
	f.Add(uint64(0), []byte(`{"state":"running","job":-1}`))
	f.Fuzz(func(t *testing.T, seq uint64, body []byte) {
		r, err := DecodeRecord(seq, body)
		if err != nil {
			if n := len(err.Error()); n > 1<<10+8*len(body) {
				t.Errorf("an error of %d bytes about %d", n, len(body))
			}
			return
		}
		if r.V > recordVersion || errors.Is(err, ErrNewerRecord) {
			t.Fatalf("version %d is taken for one's own", r.V)
		}
		again, err := DecodeRecord(seq, r.Encode())
		again.V, r.V = 0, 0
		if len(r.Tries) == 0 {
			r.Tries = nil // an empty list is not written
		}
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
		if r.RunFence() == 0 && seq != 0 {
			t.Error("a run without a fence")
		}
	})
}
