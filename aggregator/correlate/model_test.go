package correlate

import (
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// model is the obvious correlator: it knows from the case which connection a
// half belongs to, keeps all in maps, and says what must come out in sum.
type model map[modelKey]*modelConn

type modelKey struct {
	port  uint16
	start int64
}

type modelConn struct {
	records   uint32
	total     [2]uint64
	seen      [2]bool
	finalSaid [2]bool
}

func (m model) see(h half, conn modelKey) {
	c := m[conn]
	if c == nil {
		c = &modelConn{}
		m[conn] = c
	}
	c.records++
	c.seen[h.end] = true
	c.total[h.end] = max(c.total[h.end], h.total)
	c.finalSaid[h.end] = c.finalSaid[h.end] || h.final
}

// story makes the records of one connection's two ends, in each end's order.
func story(rng *rand.Rand, port uint16, start int64, antrea bool) (ends [2][]half) {
	n := 1 + rng.IntN(5)
	skew := int64(rng.IntN(40))
	for e := range 2 {
		if rng.IntN(8) == 0 {
			continue // that end never speaks
		}
		var total uint64
		for k := range n {
			d := uint64(rng.IntN(5)) * 100
			if k == 0 {
				d += 100
			}
			total += d
			ends[e] = append(ends[e], half{
				end: e, port: port, start: start + int64(e)*skew, last: start + 50 + int64(k)*5000, total: total, delta: d,
				seq: uint32(k), final: k == n-1 && rng.IntN(3) > 0, antrea: antrea,
			})
		}
	}
	return ends
}

type step struct {
	half
	conn modelKey
	wait int64
}

// order mixes the queues: each end's first record comes first of that end, the
// others may be swapped with a neighbour, repeated and delayed.
func order(rng *rand.Rand, queues [][]step) []step {
	var out []step
	for len(queues) > 0 {
		k := rng.IntN(len(queues))
		q := queues[k]
		if len(q) > 2 && q[0].seq > 0 && rng.IntN(6) == 0 {
			q[0], q[1] = q[1], q[0]
		}
		s := q[0]
		if rng.IntN(4) == 0 {
			s.wait = int64(rng.IntN(4000))
		}
		out = append(out, s)
		if rng.IntN(5) == 0 {
			out = append(out, s) // sent again
		}
		if queues[k] = q[1:]; len(queues[k]) == 0 {
			queues = append(queues[:k], queues[k+1:]...)
		}
	}
	return out
}

// check plays the steps and compares the sums with the model's.
func check(tb testing.TB, steps []step) {
	tb.Helper()
	g := newRig(tb, func(c *Config) {
		c.LingerMs, c.InactiveMs, c.ClockToleranceMs = 3_600_000, 3_600_000, 100
	})
	m := model{}
	for _, s := range steps {
		g.pass(s.wait)
		g.see(s.half)
		m.see(s.half, s.conn)
	}
	g.pass(11_000)
	g.drain()
	type sum struct {
		modelConn
		common, commonTotal uint64
		delta               [2]uint64
	}
	got := map[modelKey]*sum{}
	ids := map[flow.UUID]bool{}
	for i := range g.out {
		r := &g.out[i]
		if ids[r.ID] {
			tb.Fatalf("id %x twice", r.ID)
		}
		ids[r.ID] = true
		k := modelKey{r.SrcPort, (r.Start - t0) / 1000}
		c := got[k]
		if c == nil {
			c = &sum{}
			got[k] = c
			if !r.First {
				tb.Errorf("%v: the first emission does not say so", k)
			}
		}
		c.records += r.Records
		c.common += r.BytesDelta
		c.commonTotal = r.Bytes
		c.delta[0] += r.BytesDeltaSrc
		c.delta[1] += r.BytesDeltaDst
		c.total[0], c.total[1] = r.BytesSrc, r.BytesDst
		c.seen[0] = r.SeenBy == flow.SeenByBoth || r.SeenBy == flow.SeenBySource
		c.seen[1] = r.SeenBy == flow.SeenByBoth || r.SeenBy == flow.SeenByDestination
		if r.Half != (c.seen[0] != c.seen[1]) {
			tb.Errorf("%v: half is %v, seen %v", k, r.Half, c.seen)
		}
	}
	if len(got) != len(m) {
		tb.Errorf("%d connections came out, %d went in", len(got), len(m))
	}
	for k, w := range m {
		c := got[k]
		if c == nil {
			tb.Errorf("%v: never told", k)
			continue
		}
		top := max(w.total[0], w.total[1])
		if c.records != w.records || c.seen != w.seen || c.total != w.total || c.delta != w.total || c.common != top || c.commonTotal != top {
			tb.Errorf("%v: got %+v, want %+v", k, *c, *w)
		}
	}
}

func deal(rng *rand.Rand, conns int) []step {
	var queues [][]step
	for p := range conns {
		antrea := rng.IntN(3) == 0
		for reuse := range 1 + rng.IntN(2) {
			start := int64(reuse)*1000 + int64(rng.IntN(500))
			conn := modelKey{uint16(p), start / 1000}
			for _, hs := range story(rng, uint16(p), start, antrea) {
				var q []step
				for _, h := range hs {
					q = append(q, step{half: h, conn: conn})
				}
				if len(q) > 0 {
					queues = append(queues, q)
				}
			}
		}
	}
	return order(rng, queues)
}

// One case under many orderings gives the same sums as the model.
func TestManyOrderings(t *testing.T) {
	for seed := range uint64(400) {
		steps := deal(rand.New(rand.NewPCG(seed, 1)), 6)
		check(t, steps)
		if t.Failed() {
			for _, s := range steps {
				t.Logf("%+v", s)
			}
			t.Fatalf("seed %d", seed)
		}
	}
}

// FuzzCorrelate drives the cases by bytes and checks the books and the sums.
func FuzzCorrelate(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint8(3))
	f.Add(uint64(77), uint64(9), uint8(1))
	f.Fuzz(func(t *testing.T, a, b uint64, n uint8) {
		check(t, deal(rand.New(rand.NewPCG(a, b)), 1+int(n%12)))
	})
}

// FuzzObserve throws records of any content at the correlator: the books
// balance and nothing panics.
func FuzzObserve(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdef"))
	f.Fuzz(func(t *testing.T, in []byte) {
		g := newRig(t, func(c *Config) { c.MaxConnections, c.MaxIdentities = 5, 8 })
		for len(in) >= 12 {
			b := in[:12]
			in = in[12:]
			h := half{
				end: int(b[0] & 1), port: uint16(b[1] & 7), start: int64(b[2]) * 500, last: int64(b[3])*1000 - 5000,
				total: uint64(b[4]) << (b[5] & 63), delta: uint64(b[6]) << (b[7] & 63), seq: uint32(b[8] & 7), final: b[9]&1 != 0, antrea: b[9]&2 != 0,
			}
			r := h.rec()
			r.SetIngressPolicy(string(b[10:11]))
			for k := range 4 {
				if b[11]&(1<<k) != 0 {
					r.Has.Clear(commonTotal[k])
				}
				if b[11]&(16<<k) != 0 {
					r.Has.Clear(commonDelta[k])
				}
			}
			if b[9]&4 != 0 {
				r.Has.Clear(flow.FStart)
				r.Start = 0
			}
			if b[9]&8 != 0 {
				r.SetFlowType(flow.FlowType(b[10] % 5))
			}
			if b[9]&16 != 0 {
				r.SetProxySNATIP(r.DstIP)
				r.SetProxySNATPort(uint16(b[10]))
			}
			g.seeRec(r)
			g.pass(int64(b[10]) * 100)
		}
		g.drain()
	})
}
