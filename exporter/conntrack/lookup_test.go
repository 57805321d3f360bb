package conntrack

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

// TestLookup finds each entry of real traffic, IPv4 and IPv6, as the dump has it.
func TestLookup(t *testing.T) {
	ownNetNS(t)
	traffic(t)
	conns, _ := dump(t, Filter{})
	if len(conns) == 0 {
		t.Fatal("no traffic")
	}
	if err := anchor(t).Create(made(1, 7)); err != nil { // and one of another zone
		t.Fatal(err)
	}
	in7, _ := dump(t, Filter{Zones: []uint16{7}})
	if len(in7) != 1 {
		t.Fatalf("%d entries in zone 7", len(in7))
	}
	maps.Copy(conns, in7)
	tried := 0
	for _, want := range conns {
		if want.Orig.Proto != 6 && want.Orig.Proto != 17 {
			continue
		}
		tried++
		got, found, err := Lookup(t.Context(), Options{}, want.Orig)
		if err != nil || !found {
			t.Errorf("%s:%d: found %v, %v", want.Orig.SrcAddr(), want.Orig.SrcPort, found, err)
			continue
		}
		got.Timeout, want.Timeout = 0, 0 // it runs down
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		k, err := NewKernel(KernelOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []flow.Tuple{want.Orig, want.Orig.Reverse()} {
			if has, err := k.Has(t.Context(), x, []uint16{3, want.Zone}); !has || err != nil {
				t.Errorf("the kernel has it not: %v", err)
			}
			if has, err := k.Has(t.Context(), x, []uint16{3, 4}); has || err != nil {
				t.Errorf("another zone has it: %v", err)
			}
		}
		_ = k.Close()
		absent := want.Orig
		absent.SrcPort++
		if _, found, err := Lookup(t.Context(), Options{}, absent); found || err != nil {
			t.Errorf("a connection that never was: found %v, %v", found, err)
		}
	}
	if tried == 0 {
		t.Error("no TCP or UDP entry was tried")
	}
	if _, _, err := Lookup(t.Context(), Options{NetNS: "/run/netns/weir-none"}, conns[0].Orig); err == nil {
		t.Error("a namespace that is not there has an entry")
	}
}
