package store

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// Whatever comes in whatever order: when the records of a range hold one of a connection
// beside one that was said to be its only one, the later says again. Tables are so small
// that they forget most.
func TestSoleIsNeverWrongUnseen(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	s := newSeen(0, math.MinInt64)
	type life struct {
		start, end int64
		alone      bool // said of one of its records
		told       int
		final      bool
	}
	lives := map[uint64]*life{}
	var open []uint64
	soles, returns := 0, 0
	for now := int64(1000); now < 300_000; now++ {
		var id uint64
		switch {
		case len(open) == 0 || rng.IntN(3) > 0:
			id = rng.Uint64()
			lives[id] = &life{start: now - rng.Int64N(1000)}
			open = append(open, id)
		default:
			id = open[rng.IntN(len(open))]
		}
		l := lives[id]
		var r flow.Record
		r.SetConnID(id)
		if id%16 > 0 {
			r.SetStart(l.start)
		}
		l.end = max(l.end, now-rng.Int64N(50), l.start)
		r.SetEnd(l.end)
		// After a final record only a correlator that forgot goes on, and says first.
		r.SetFirst(l.told == 0 || l.final)
		l.final = rng.IntN(2) == 0
		r.SetFinal(l.final)
		alone, again := s.add(&r)
		if l.told > 0 && alone {
			t.Fatalf("record %d of %x is said to be the only one", l.told, id)
		}
		if l.alone && !again && l.told == 1 {
			t.Fatalf("the second record of %x does not say that the first was not the only one", id)
		}
		l.alone = l.alone || alone
		l.told++
		if alone {
			soles++
		}
		if again {
			returns++
		}
		if len(open) > 20_000 || l.final && rng.IntN(50) > 0 {
			k := rng.IntN(len(open))
			open[k] = open[len(open)-1]
			open = open[:len(open)-1]
		}
	}
	if soles < 20_000 || returns == 0 || s.begin == math.MinInt64 {
		t.Errorf("%d were the only ones, %d came again, forgotten up to %d", soles, returns, s.begin)
	}
	t.Logf("%d were the only ones, %d came again", soles, returns)
}
