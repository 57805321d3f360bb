package correlate

import (
	"math/rand/v2"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// relay is one connection whose ends report to one replica, then to another, then to the
// first again: each end's records go where that end believes the others go, so for a
// moment the two ends report to different replicas.
func relay(t *testing.T, rng *rand.Rand) (told, truth [3]uint64) {
	t.Helper()
	replicas := [2]*rig{newRig(t), newRig(t)}
	at := [2]int{}
	var total [2]uint64
	var seq [2]uint32
	var now int64
	collect := func(g *rig) {
		for i := range g.out {
			r := &g.out[i]
			told[0] += r.BytesDeltaSrc
			told[1] += r.BytesDeltaDst
			told[2] += r.BytesDelta
		}
		g.out = nil
	}
	moved := uint64(100)
	say := func(e int, final bool) {
		g := replicas[at[e]]
		d := moved - total[e]
		total[e] = moved
		g.see(half{end: e, port: 1, start: int64(e) * 7, last: now, total: total[e], delta: d, seq: seq[e], final: final})
		seq[e]++
	}
	step := func() {
		ms := int64(1000 + rng.IntN(4000))
		now += ms
		for _, g := range replicas {
			g.pass(ms)
		}
		moved += uint64(rng.IntN(10)) * 100
	}
	both := func() { // in any order, with traffic between
		first := rng.IntN(2)
		say(first, false)
		step()
		say(1-first, false)
	}
	for range 1 + rng.IntN(3) {
		both()
		step()
	}
	for move := range 2 {
		from := move
		say(rng.IntN(2), false) // one end is ahead when the replica leaves
		replicas[from].c.Drain(replicas[from].now, replicas[from].emit)
		collect(replicas[from])
		replicas[from] = newRig(t)
		replicas[from].now = replicas[1-from].now
		at = [2]int{1 - from, 1 - from}
		for range 1 + rng.IntN(3) {
			both()
			step()
		}
	}
	say(0, true)
	step()
	say(1, true)
	for _, g := range replicas {
		g.pass(11_000)
		g.drain()
		collect(g)
	}
	return told, [3]uint64{total[0], total[1], max(total[0], total[1])}
}

// A replica that leaves gracefully and one that returns take a connection over from one
// another: each end's deltas and the common ones add up to the totals over both.
func TestTakeOverLosesAndDoublesNothing(t *testing.T) {
	for seed := range uint64(400) {
		if told, truth := relay(t, rand.New(rand.NewPCG(seed, 2))); told != truth {
			t.Errorf("seed %d: told %d of the client's end, the server's and both, want %d", seed, told, truth)
		}
	}
}

// A connection that ends while a replica leaves: one end has told the one that leaves,
// the other tells the one that stays. What was told is handed over, without deltas.
func TestHandedOver(t *testing.T) {
	src := half{end: sideSrc, port: 1, last: 900, total: 1000, delta: 1000, final: true}
	dst := half{end: sideDst, port: 1, start: 7, last: 900, total: 1200, delta: 1200, final: true}
	again := src
	again.delta, again.handed = 0, true
	sum := func(g *rig) (bytes, ends [2]uint64, firsts, finals int) {
		for i := range g.out {
			r := &g.out[i]
			bytes[0] += r.BytesDelta
			bytes[1] += r.RevBytesDelta
			ends[0] += r.BytesDeltaSrc
			ends[1] += r.BytesDeltaDst
			if r.First {
				firsts++
			}
			if r.Final {
				finals++
			}
		}
		return bytes, ends, firsts, finals
	}
	for _, order := range [][]half{{again, dst}, {dst, again}, {again, again, dst}} {
		leaves, stays := newRig(t), newRig(t)
		leaves.see(src)
		leaves.drain()
		for _, h := range order {
			stays.see(h)
			stays.pass(500)
		}
		stays.pass(60_000)
		stays.drain()
		a, ae, af, _ := sum(leaves)
		b, be, bf, final := sum(stays)
		if a[0]+b[0] != 1200 || a[1]+b[1] != 2400 || ae[0]+be[0] != 1000 || ae[1]+be[1] != 1200 || af+bf != 1 || final != 1 {
			t.Errorf("bytes %d and %d, ends %d and %d, begun %d and %d times, ended here %d times", a, b, ae, be, af, bf, final)
		}
		if len(stays.out) != 1 || stays.out[0].Half || stays.out[0].SeenBy != flow.SeenByBoth {
			t.Errorf("told as %+v, want one record of both ends", stays.out)
		}
	}
	// What nobody adds to is not told again, and leaves nothing behind.
	quiet := newRig(t)
	quiet.see(again)
	quiet.pass(60_000)
	if n, c, b := quiet.c.Held(); len(quiet.out) != 0 || quiet.c.Len() != 0 || n+c+b != 0 {
		t.Errorf("%d told, %d kept, held %d %d %d", len(quiet.out), quiet.c.Len(), n, c, b)
	}
}
