package pressure

import (
	"fmt"
	"math"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

func TestForecast(t *testing.T) {
	for _, c := range []struct {
		name     string
		count    func(i int) uint64 // at i*1000 ms
		n        int
		max      uint64
		growth   float64 // within 1 %
		known    bool
		fullInMs int64
	}{
		{"nothing", nil, 0, 0, 0, false, -1},
		{"too few", func(i int) uint64 { return uint64(i * 100) }, 4, 1000, 0, false, -1},
		{"steady", func(i int) uint64 { return uint64(1000 + 50*i) }, 31, 10000, 50, true, 150_000},
		{"still", func(int) uint64 { return 7 }, 31, 10000, 0, true, -1},
		{"shrinking", func(i int) uint64 { return uint64(5000 - 10*i) }, 31, 10000, -10, true, -1},
		{"full", func(int) uint64 { return 500 }, 31, 500, 0, true, 0},
		{"over a year", func(i int) uint64 { return uint64(i / 30) }, 31, 1 << 40, 0, true, -1},
		// A fifth of the samples is wild: a dump that came late, a burst that died.
		{"outliers", func(i int) uint64 {
			if i%5 == 3 {
				return uint64(i%7) * 9000
			}
			return uint64(1000 + 50*i)
		}, 31, 10000, 50, true, 150_000},
	} {
		f := New(0)
		for i := range c.n {
			f.Add(Sample{AtMs: 1e12 + int64(i)*1000, Count: c.count(i), Max: c.max})
		}
		s := f.State()
		near := func(got, want float64) bool { return math.Abs(got-want) <= math.Abs(want)*0.15+0.05 }
		if s.Known != c.known || !near(s.GrowthPerSecond, c.growth) {
			t.Errorf("%s: growth %v (known %v), want %v (%v)", c.name, s.GrowthPerSecond, s.Known, c.growth, c.known)
		}
		if c.fullInMs <= 0 && s.FullInMs != c.fullInMs || c.fullInMs > 0 && !near(float64(s.FullInMs), float64(c.fullInMs)) {
			t.Errorf("%s: full in %d ms, want %d", c.name, s.FullInMs, c.fullInMs)
		}
	}
}

// TestWindow: the growth is that of the window, and its memory is bounded.
func TestWindow(t *testing.T) {
	f := New(10_000)
	n, at := uint64(0), int64(1e12)
	for range 50_000 { // 50 s, a sample a millisecond, a thousand entries a second
		at, n = at+1, n+1
		f.Add(Sample{AtMs: at, Count: n, Max: 1 << 20})
	}
	for range 12_000 { // and then none for longer than the window
		at++
		f.Add(Sample{AtMs: at, Count: n, Max: 1 << 20, Drop: uint64(at % 7), EarlyDrop: 4})
	}
	s := f.State()
	if len(f.samples) > maxSamples || cap(f.samples) > 4*maxSamples {
		t.Errorf("%d samples are kept, room for %d", len(f.samples), cap(f.samples))
	}
	if s.GrowthPerSecond != 0 || s.FullInMs != -1 || s.Count != n || s.AtMs != at {
		t.Errorf("after the rest: %+v", s)
	}
	if s.EarlyDrops != 0 {
		t.Errorf("%d early drops in the window, want 0: they were before it", s.EarlyDrops)
	}
	f.Add(Sample{AtMs: at - 5000, Count: 3, Max: 10}) // the clock was set back
	if s := f.State(); s.Known || s.Count != 3 {
		t.Errorf("after the clock went back: %+v", s)
	}
}

func TestKernelCounts(t *testing.T) {
	f := New(0)
	f.Add(Sample{AtMs: 1000, Drop: 5, EarlyDrop: 9, InsertFailed: 1})
	f.Add(Sample{AtMs: 2000, Drop: 8, EarlyDrop: 2, InsertFailed: 1}) // EarlyDrop was set back
	s := f.State()
	if s.Drops != 3 || s.EarlyDrops != 2 || s.InsertFailed != 0 {
		t.Errorf("%+v", s)
	}
}

func addr(i int) [16]byte {
	return flow.Addr16(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
}

func TestTally(t *testing.T) {
	y := NewTally()
	for i := range 100 {
		for range i {
			y.Add(&flow.Tuple{Src: addr(i), Dst: addr(999)}, &flow.Tuple{Src: addr(500 + i%2)})
		}
	}
	name := func(a [16]byte) string {
		x := netip.AddrFrom16(a).Unmap().String()
		if x == "10.0.0.97" || x == "10.0.0.98" {
			return "shop/cart"
		}
		return x
	}
	clients, servers := y.Top(2, name)
	if diff := cmp.Diff([]Owner{{"shop/cart", 195}, {"10.0.0.99", 99}, {Others, 4950 - 195 - 99}}, clients); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Owner{{"10.0.1.245", 2500}, {"10.0.1.244", 2450}}, servers); diff != "" {
		t.Error(diff)
	}
	y.Reset()
	for i := range 3 * maxAddresses {
		y.Add(&flow.Tuple{Src: addr(i)}, &flow.Tuple{Src: addr(1)})
	}
	clients, _ = y.Top(1, func(a [16]byte) string { return fmt.Sprint(a) })
	if len(y.clients) != maxAddresses || len(clients) != 2 || clients[1].Entries != 3*maxAddresses-1 {
		t.Errorf("%d addresses are kept, %v", len(y.clients), clients)
	}
}

func BenchmarkTally(b *testing.B) {
	y := NewTally()
	tuples := make([]flow.Tuple, 4096)
	for i := range tuples {
		tuples[i] = flow.Tuple{Src: addr(i % 300), Dst: addr(i % 50)}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x := &tuples[i%len(tuples)]
		y.Add(x, x)
	}
}

func BenchmarkState(b *testing.B) {
	f := New(0)
	for i := range maxSamples {
		f.Add(Sample{AtMs: int64(i) * 1000, Count: uint64(i * i), Max: 1 << 20})
	}
	b.ReportAllocs()
	for b.Loop() {
		f.State()
	}
}
