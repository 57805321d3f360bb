package correlate

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// The quirks (a) to (f) of the aggregator that users come from, one test each.

// (a) A record whose end is not later than the previous one's is not discarded:
// its bytes count.
func TestQuirkA_TwoRecordsInOneSecondAddUp(t *testing.T) {
	g := newRig(t)
	g.see(half{end: sideSrc, port: 1, last: 1000, total: 100, delta: 100, antrea: true})
	g.see(half{end: sideDst, port: 1, last: 1000, total: 100, delta: 100, antrea: true})
	g.see(half{end: sideSrc, port: 1, last: 1000, total: 250, delta: 150, antrea: true})
	g.see(half{end: sideSrc, port: 1, last: 1000, total: 300, delta: 50, antrea: true})
	g.drain()
	g.want(2)
	eq(t, "bytes_delta", g.out[1].BytesDelta, 200)
	eq(t, "bytes", g.out[1].Bytes, 300)
	eq(t, "throughput without time", g.out[1].Has.Has(flow.FThroughput), false)

	// The same for an exporter that tells deltas only.
	g = newRig(t)
	for range 3 {
		r := half{end: sideSrc, port: 2, last: 1000, delta: 70, antrea: true}.rec()
		for _, f := range commonTotal {
			r.Has.Clear(f)
		}
		r.Bytes, r.Packets, r.RevBytes, r.RevPackets = 0, 0, 0, 0
		g.seeRec(r)
	}
	g.drain()
	eq(t, "bytes_delta", g.out[0].BytesDelta, 210)
	eq(t, "a total that nobody told", g.out[0].Has.Has(flow.FBytes), false)
}

// (b) A tuple that is used again is another connection: totals that go down
// never underflow, and the two are never merged.
func TestQuirkB_TupleReuseIsANewConnection(t *testing.T) {
	for _, antrea := range []bool{false, true} {
		g := newRig(t)
		for e := range 2 {
			g.see(half{end: e, port: 1, start: 0, last: 2000, total: 5000, delta: 5000, final: true, antrea: antrea})
		}
		g.pass(2000)
		for e := range 2 {
			g.see(half{end: e, port: 1, start: 3000, last: 4000, total: 7000, delta: 7000, antrea: antrea}) // higher totals, later start
		}
		for e := range 2 {
			g.see(half{end: e, port: 1, start: 3000, last: 9000, total: 100, delta: 100, antrea: antrea}) // same start, totals down
		}
		g.drain()
		g.want(3)
		var sum uint64
		ids := map[uint64]bool{}
		for _, r := range g.out {
			sum += r.BytesDelta
			ids[r.ConnID] = true
			eq(t, "seen_by", r.SeenBy, flow.SeenByBoth)
			if r.Throughput > 8*7000*1000 {
				t.Errorf("throughput %d", r.Throughput)
			}
		}
		eq(t, "bytes of all", sum, 12100)
		eq(t, "connections", len(ids), 3)
	}
}

// A late record of the older connection finds it behind the newer one.
func TestQuirkB_LateRecordOfTheOlderConnection(t *testing.T) {
	g := newRig(t)
	g.see(half{end: sideSrc, port: 1, start: 0, last: 2000, total: 500, delta: 500, final: true})
	g.see(half{end: sideSrc, port: 1, start: 2500, last: 4000, total: 900, delta: 900, final: true})
	g.see(half{end: sideDst, port: 1, start: 2510, last: 4000, total: 900, delta: 900, final: true})
	g.see(half{end: sideDst, port: 1, start: 10, last: 2000, total: 500, delta: 500, final: true})
	g.drain()
	g.want(2)
	eq(t, "newer", g.out[0].Bytes, 900)
	eq(t, "older", g.out[1].Bytes, 500)
	eq(t, "older's other end", g.out[1].BytesDst, 500)
}

// (c) A connection without new data is not told again.
func TestQuirkC_NothingNewIsNotExported(t *testing.T) {
	g := newRig(t)
	for e := range 2 {
		g.see(half{end: e, port: 1, last: 0, total: 100, delta: 100})
	}
	for k := uint32(1); k < 60; k++ { // the same numbers every 5 s
		g.pass(5000)
		for e := range 2 {
			g.see(half{end: e, port: 1, last: 0, total: 100, seq: k})
		}
	}
	g.want(1)
	eq(t, "live", g.c.Len(), 1)
	g.pass(100_000)
	g.want(2) // what was taken in is accounted for at the end
	eq(t, "records", g.out[1].Records, 118)
	eq(t, "bytes_delta", g.out[1].BytesDelta, 0)
}

// (d) A half without its other half is told, and says so.
func TestQuirkD_AHalfIsNeverDropped(t *testing.T) {
	for e := range 2 {
		g := newRig(t)
		g.see(half{end: e, port: 1, last: 100, total: 100, delta: 100})
		g.pass(9900)
		g.want(0)
		g.pass(200)
		g.want(1)
		eq(t, "half", g.out[0].Half, true)
		eq(t, "seen_by", g.out[0].SeenBy, flow.SeenBySource+flow.SeenBy(e))
		// It goes on as a half ...
		g.pass(50_000)
		g.see(half{end: e, port: 1, last: 30_000, total: 400, delta: 300, seq: 1})
		g.pass(11_000)
		g.want(2)
		eq(t, "bytes_delta", g.out[1].BytesDelta, 300)
		// ... until the other arrives.
		g.see(half{end: 1 - e, port: 1, last: 40_000, total: 500, delta: 200, seq: 3})
		g.want(3)
		eq(t, "half", g.out[2].Half, false)
		eq(t, "seen_by", g.out[2].SeenBy, flow.SeenByBoth)
		eq(t, "sum of deltas", g.out[0].BytesDelta+g.out[1].BytesDelta+g.out[2].BytesDelta, 500)
		eq(t, "conn_id", g.out[2].ConnID, g.out[0].ConnID)
		g.drain()
	}
}

// (e) The first export comes when the second half does, not a timeout later.
func TestQuirkE_FirstExportIsImmediate(t *testing.T) {
	g := newRig(t)
	g.see(half{end: sideSrc, port: 1, last: 100, total: 100, delta: 100})
	g.pass(7000)
	g.see(half{end: sideDst, port: 1, last: 7000, total: 100, delta: 100})
	g.want(1)
}

// (f) Many connections cost little: no pointer in an entry, bounded memory. The
// bytes per connection are BenchmarkCorrelate's B/conn; here, that state is freed.
func TestQuirkF_StateIsReused(t *testing.T) {
	g := newRig(t)
	for round := range 20 {
		for p := range 2000 {
			start := int64(round) * 200_000
			for e := range 2 {
				r := half{end: e, port: uint16(p), start: start, last: start + 10, total: 100, delta: 100}.rec()
				g.c.Observe(g.now, r, func(*flow.Record) {})
			}
		}
		g.now += 200_000
		g.c.Expire(g.now, func(*flow.Record) {})
		eq(t, "live", g.c.Len(), 0)
	}
	if n := len(g.c.slab.chunks); n > 2 {
		t.Errorf("%d chunks for 2000 connections", n)
	}
	eq(t, "identities", g.c.Identities(), 0)
}

// A total that recovers what was lost on the wire, and an agent's restart.
func TestTotalsOutliveLostRecordsAndRestarts(t *testing.T) {
	g := newRig(t)
	for e := range 2 {
		g.see(half{end: e, port: 1, last: 0, total: 100, delta: 100})
	}
	// Records 1 to 3 were lost; 4 arrives.
	g.see(half{end: sideSrc, port: 1, last: 20_000, total: 900, delta: 200, seq: 4})
	// The agent at the client began anew and tells all as its first delta.
	r := half{end: sideSrc, port: 1, last: 25_000, total: 1000, delta: 1000, seq: 0}.rec()
	g.seeRec(r)
	// One that knows no start any more says so by leaving it out.
	r = half{end: sideSrc, port: 1, last: 30_000, total: 1100, delta: 1100, seq: 0}.rec()
	r.Has.Clear(flow.FStart)
	r.Start = 0
	g.seeRec(r)
	g.drain()
	g.want(2)
	eq(t, "bytes", g.out[1].Bytes, 1100)
	eq(t, "bytes_delta", g.out[1].BytesDelta, 1000)
	s := g.c.Stats()
	eq(t, "recovered", s.RecoveredBytes, 600+1200)
	eq(t, "repeated", s.RepeatedBytes, 900+1800+1000+2000)
}
