package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

// draw makes one random object of a small world. Starts follow from the UID, as
// an API server's do.
func draw(r *rand.Rand, serial int) Event {
	addr := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(6))}) }
	host := func() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(3))}) }
	u := uid(serial % 3)
	start := int64(serial%3)*7 + 1
	port := Port{Name: "p", Proto: 6, Number: uint16(80 + r.IntN(2))}
	switch r.IntN(8) {
	case 0:
		return Event{Node: &Node{
			Name: fmt.Sprint("n", r.IntN(3)), UID: u, Zone: fmt.Sprint("z", r.IntN(2)), Addresses: []netip.Addr{host()}, StartMs: start,
			PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), 0, 0}), 16)},
		}}
	case 1:
		port.Node = uint16(30000 + r.IntN(2))
		return Event{Service: &Service{
			Namespace: "d", Name: fmt.Sprint("s", r.IntN(3)), UID: u, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(r.IntN(3))})},
			Ports: []Port{port}, StartMs: start,
		}}
	case 2:
		return Event{Endpoints: &EndpointSlice{
			Namespace: "d", Name: fmt.Sprint("e", r.IntN(3)), Service: fmt.Sprint("s", r.IntN(3)), Addresses: []netip.Addr{addr(), addr()}, Ports: []Port{port},
		}}
	case 3:
		return Event{ReplicaSet: &ReplicaSet{Namespace: "d", Name: fmt.Sprint("r", r.IntN(2)), Owner: Owner{"Deployment", fmt.Sprint("d", r.IntN(2))}}}
	}
	p := &Pod{
		Namespace: "d", Name: fmt.Sprint("p", r.IntN(6)), UID: u, Node: fmt.Sprint("n", r.IntN(3)), StartMs: start,
		Owner: Owner{"ReplicaSet", fmt.Sprint("r", r.IntN(2))}, Done: r.IntN(6) == 0,
	}
	if p.HostNetwork = r.IntN(4) == 0; p.HostNetwork {
		p.IPs, p.Ports = []netip.Addr{host()}, []Port{port}
	} else {
		p.IPs = []netip.Addr{addr()}
	}
	return Event{Pod: p}
}

func nameOf(e Event) string {
	switch {
	case e.Pod != nil:
		return "pod " + e.Pod.Name
	case e.Node != nil:
		return "node " + e.Node.Name
	case e.Service != nil:
		return "service " + e.Service.Name
	case e.Endpoints != nil:
		return "slice " + e.Endpoints.Name
	}
	return "rs " + e.ReplicaSet.Name
}

// answers says everything that an index says about the small world at ms.
func answers(x *Index, ms int64) string {
	var b strings.Builder
	var all []netip.Addr
	for i := range 6 {
		all = append(all, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}),
			netip.AddrFrom4([4]byte{10, 96, 0, byte(i)}), netip.AddrFrom4([4]byte{10, byte(i), 7, 7}))
	}
	for _, a := range all {
		k := flow.Addr16(a)
		for _, port := range []uint16{80, 81, 30000, 30001} {
			if id := x.Lookup(k, 6, port, ms); id != nil {
				fmt.Fprintf(&b, "%s:%d %d %s %s %s %s %x\n", a, port, id.Kind, id.Name, id.Workload, id.Node(), id.Zone(), id.UID[:2])
			}
			if s := x.Service(k, 6, port, ms); s != nil {
				fmt.Fprintf(&b, "%s:%d service %s\n", a, port, s.Ref)
			}
			for _, through := range []uint16{80, 81, 30000, 30001} {
				if s := x.Backend(k, 6, port, through); s != nil {
					fmt.Fprintf(&b, "%s:%d backend of %s:%d\n", a, port, s.Ref, through)
				}
			}
		}
	}
	return b.String()
}

// TestFunctionOfState drives a model through random changes and compares what it
// says of the present with a new model that is told the present only, in any order.
func TestFunctionOfState(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := NewModel(DefaultLimits())
		state := map[string]Event{}
		now := int64(1000)
		for i := range 10 + r.IntN(120) {
			now += 10
			e := draw(r, i)
			k := nameOf(e)
			// A deleted ReplicaSet or Node keeps its name and zone while pods name it:
			// history, on purpose.
			if old, ok := state[k]; ok && old.ReplicaSet == nil && old.Node == nil && r.IntN(3) == 0 {
				old.Delete = true
				m.Apply(now, old)
				delete(state, k)
				continue
			}
			m.Apply(now, e)
			state[k] = e
		}
		var list []Event
		for _, e := range state {
			list = append(list, e)
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		fresh := NewModel(DefaultLimits())
		for _, e := range list {
			fresh.Apply(now, e)
		}
		later := now + DefaultLimits().SlackMs + 1
		if have, want := answers(m.Index(), later), answers(fresh.Index(), later); have != want {
			t.Fatalf("seed %d: after its history the model says otherwise (-) than a new one (+)\n%s", seed, cmp.Diff(have, want))
		}
	}
}
