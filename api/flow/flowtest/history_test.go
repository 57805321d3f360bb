package flowtest

import (
	"math/bits"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// A record of History has 40 fields, which the bars of stores are stated for.
func TestHistoryHasFortyFields(t *testing.T) {
	h := NewHistory()
	var r flow.Record
	for i := range uint64(100) {
		h.Record(i, &r)
		n := 0
		for _, w := range r.Has {
			n += bits.OnesCount64(w)
		}
		if n != 40 {
			t.Fatalf("record %d has %d fields", i, n)
		}
	}
}
