package flow_test

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// A place holds nothing of what stood there before but the fields that the caller
// is about to write.
func TestBatchPlacesAreClean(t *testing.T) {
	var names, ports flow.Mask
	names.SetAll(flow.FSrcPod, flow.FSrcIP)
	ports.SetAll(flow.FSrcPort, flow.FSrcIP)
	freed := 0
	b := flow.NewBatch(4, func(*flow.Batch) { freed++ })
	write := func(m flow.Mask) flow.Record {
		r := b.Place(&m)
		r.Has = m
		if m.Has(flow.FSrcPod) {
			r.SrcPod = "a"
		}
		if m.Has(flow.FSrcPort) {
			r.SrcPort = 7
		}
		b.Commit()
		return *r
	}
	wantNames, wantPorts := flow.Record{Has: names, SrcPod: "a"}, flow.Record{Has: ports, SrcPort: 7}
	for round, order := range [][]flow.Mask{{names, names, names, names}, {ports, names, ports, ports}, {names, ports, names}, {ports}, {ports, ports}} {
		for i, m := range order {
			want := wantNames
			if m == ports {
				want = wantPorts
			}
			if got := write(m); got != want {
				t.Fatalf("round %d, record %d: got %+v, want %+v", round, i, got, want)
			}
		}
		if b.Full() != (len(order) == 4) || len(b.Recs) != len(order) {
			t.Fatalf("round %d: %d records, full %v", round, len(b.Recs), b.Full())
		}
		b.Share(2)
		b.Release()
		if freed != round {
			t.Fatalf("round %d: freed by its first reader", round)
		}
		b.Release()
		if freed != round+1 || len(b.Recs) != 0 {
			t.Fatalf("round %d: freed %d times, %d records are left", round, freed, len(b.Recs))
		}
	}
	whole := flow.Record{}
	whole.SetObserver("node")
	b.Append(&whole)
	b.Release()
	if got := write(ports); got != wantPorts {
		t.Fatalf("after a copy: got %+v, want %+v", got, wantPorts)
	}
}
