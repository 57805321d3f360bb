package send_test

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// Of an aggregator that leaves in good order another gets what it was told lately, of
// connections that another node may tell of: once each, as it was told last, without
// deltas. What no other node can tell of is not handed over.
func TestHandOver(t *testing.T) {
	leaves, a := listen(t, "tcp", "127.0.0.1:0")
	stays, b := listen(t, "tcp", "127.0.0.1:0")
	s, book, _, _ := sender(t, "tcp", a, b)
	const n = 200
	for i := range n {
		r, route := record(i)
		r.SetFlowType(flow.FlowTypeInterNode)
		r.SetStart(1000)
		r.SetBytes(111)
		s.Send(&r, route)
		r.SetFirst(false)
		r.SetBytes(222)
		s.Send(&r, route)
		r, route = record(1000 + i)
		r.SetFlowType(flow.FlowTypeIntraNode)
		s.Send(&r, route)
	}
	eventually(t, "all records", func() bool { return leaves.count()+stays.count() == 3*n })
	leaves.mu.Lock()
	want := map[uint16]bool{}
	for port := range leaves.ports {
		want[port] = port < 1000
	}
	leaves.mu.Unlock()
	leaves.stop()
	<-leaves.done
	handed := func() []flow.Record {
		stays.mu.Lock()
		defer stays.mu.Unlock()
		return append([]flow.Record(nil), stays.handed...)
	}
	pairs := 0
	for _, pair := range want {
		if pair {
			pairs++
		}
	}
	if pairs == 0 || pairs == n {
		t.Fatalf("%d of %d connections went to the one that leaves: want a share", pairs, n)
	}
	eventually(t, "what was handed over", func() bool { return len(handed()) >= pairs })
	got := map[uint16]int{}
	for _, r := range handed() {
		got[r.SrcPort]++
		if !want[r.SrcPort] || r.Bytes != 222 || !r.Has.Has(flow.FBytesDelta) || r.BytesDelta != 0 || r.RevBytesDelta != 0 || r.First || r.Has.Has(flow.FPacketsDelta) {
			t.Errorf("handed over: port %d, first %v, %d bytes, deltas %d and %d, of packets: %v", r.SrcPort, r.First, r.Bytes, r.BytesDelta, r.RevBytesDelta, r.Has.Has(flow.FPacketsDelta))
		}
	}
	for port, times := range got {
		if times != 1 {
			t.Errorf("port %d was handed over %d times", port, times)
		}
	}
	for _, l := range book.Snapshot() {
		if r, c, b := l.Diff(); r != 0 || c != 0 || b != 0 || l.LostTotal().Records != 0 {
			t.Errorf("books: %+v", l)
		}
	}
}
