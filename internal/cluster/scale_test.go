package cluster

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// manyPods are n pods of 30 Pods a ReplicaSet and 100 a node.
func manyPods(n int) []Event {
	out := make([]Event, n)
	for i := range out {
		out[i] = Event{Pod: &Pod{
			Namespace: fmt.Sprint("ns", i%50), Name: fmt.Sprintf("web-%d-7f-%d", i/30, i), UID: uid(i), Node: fmt.Sprint("n", i/100),
			IPs:   []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
			Owner: Owner{"ReplicaSet", fmt.Sprintf("web-%d-7f", i/30)}, TemplateHash: "7f", Labels: `{"app":"web"}`, StartMs: 1000,
		}}
	}
	return out
}

// TestFootprint holds what the index adds to the pods themselves under 1 KiB each.
func TestFootprint(t *testing.T) {
	const n = 20_000
	ev := manyPods(n)
	var a, b runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&a)
	m := NewModel(DefaultLimits())
	for _, e := range ev {
		m.Apply(2000, e)
	}
	runtime.GC()
	runtime.ReadMemStats(&b)
	per := (int64(b.HeapAlloc) - int64(a.HeapAlloc)) / n
	t.Logf("%d bytes a pod beside the Pod itself, %d pods", per, m.Stats().Pods)
	if per > 1024 {
		t.Errorf("%d bytes a pod, want at most 1024", per)
	}
	runtime.KeepAlive(ev)
}

func BenchmarkApply(b *testing.B) {
	ev := manyPods(20_000)
	b.Run("weir", func(b *testing.B) {
		b.ReportAllocs()
		m, i := NewModel(DefaultLimits()), 0
		for b.Loop() {
			m.Apply(int64(2000+i), ev[i%len(ev)])
			i++
		}
	})
}
