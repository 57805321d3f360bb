package cluster

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLook(t *testing.T) {
	m := NewModel(DefaultLimits())
	x := m.Index()
	addr := netip.MustParseAddr
	m.Apply(1, Event{Namespace: &Namespace{Name: "shop", Labels: "{}"}})
	m.Apply(1, Event{Pod: &Pod{Namespace: "shop", Name: "pay-1", IPs: []netip.Addr{addr("10.0.0.2")}, Owner: Owner{"ReplicaSet", "pay-7"}}})
	svc := &Service{Namespace: "shop", Name: "pay", ClusterIPs: []netip.Addr{addr("10.96.0.1")}, Ports: []Port{{Name: "https", Proto: ProtoTCP, Number: 443, Target: 8443}}}
	m.Apply(1, Event{Service: svc})
	if s := x.ServiceNamed("shop", "pay"); s == nil || s.Ready != 0 || s.Unready != 0 {
		t.Fatalf("without endpoints: %+v", s)
	}
	slice := &EndpointSlice{
		Namespace: "shop", Name: "pay-x", Service: "pay", Addresses: []netip.Addr{addr("10.0.0.2"), addr("10.0.0.3")}, Unready: []netip.Addr{addr("10.0.0.3")},
		Ports: []Port{{Name: "https", Proto: ProtoTCP, Number: 8443}},
	}
	m.Apply(2, Event{Endpoints: slice})
	want := &ServiceState{Namespace: "shop", Name: "pay", ClusterIPs: svc.ClusterIPs, Ports: svc.Ports, Ready: 1, Unready: 1, EndpointPorts: []uint16{8443}}
	if d := cmp.Diff(want, x.ServiceNamed("shop", "pay"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	m.Apply(3, Event{Endpoints: slice, Delete: true})
	if s := x.ServiceNamed("shop", "pay"); s.Ready != 0 || s.Unready != 0 || len(s.EndpointPorts) != 0 {
		t.Errorf("endpoints are gone: %+v", s)
	}
	m.Apply(4, Event{ReplicaSet: &ReplicaSet{Namespace: "shop", Name: "pay-7", Owner: Owner{"Deployment", "pay"}}})
	if p := x.Pods("shop"); len(p) != 1 || p[0].Workload != "Deployment/pay" || p[0].IPs[0] != addr("10.0.0.2") {
		t.Errorf("pods %+v", p)
	}
	if d := cmp.Diff([]string{"shop"}, x.Namespaces()); d != "" {
		t.Error(d)
	}
	m.Apply(4, Event{Node: &Node{Name: "node-1", Addresses: []netip.Addr{addr("10.0.0.1")}}})
	if n := x.Nodes(); len(n) != 1 || n[0].Name != "node-1" || n[0].Addresses[0] != addr("10.0.0.1") {
		t.Errorf("nodes %+v", n)
	}
	if s := x.Services("shop"); len(s) != 1 || s[0].Name != "pay" || len(x.Services("other")) != 0 {
		t.Errorf("services %+v", s)
	}
	m.Apply(5, Event{Delete: true, Node: &Node{Name: "node-1"}})
	m.Apply(5, Event{Delete: true, Service: &Service{Namespace: "shop", Name: "pay"}})
	m.Apply(5, Event{Delete: true, Pod: &Pod{Namespace: "shop", Name: "pay-1"}})
	m.Apply(5, Event{Delete: true, Namespace: &Namespace{Name: "shop"}})
	if x.ServiceNamed("shop", "pay") != nil || len(x.Pods("shop")) != 0 || len(x.Namespaces()) != 0 || len(x.pods) != 0 || len(x.Nodes()) != 0 || len(x.Services("shop")) != 0 || len(x.named) != 0 {
		t.Error("something is left of what was deleted")
	}
}
