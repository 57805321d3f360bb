package cluster

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/weirnet/weir/api/flow"
)

func world() []Event {
	return []Event{
		{Node: &Node{
			Name: "n1", UID: uid(1), Zone: "za", Addresses: []netip.Addr{ip("192.0.2.1"), ip("2001:db8::1"), ip("203.0.113.1")},
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		}},
		{Node: &Node{Name: "n2", UID: uid(2), Zone: "zb", Addresses: []netip.Addr{ip("192.0.2.2")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")}}},
		{Pod: &Pod{
			Namespace: "web", Name: "front-5d9c-x1", UID: uid(10), Node: "n1", IPs: []netip.Addr{ip("10.244.1.5"), ip("fd00:1::5")},
			Owner: Owner{"ReplicaSet", "front-5d9c"}, TemplateHash: "5d9c", StartMs: 1000,
		}},
		{Pod: &Pod{
			Namespace: "kube-system", Name: "dns-n2", UID: uid(11), Node: "n2", IPs: []netip.Addr{ip("192.0.2.2")}, HostNetwork: true,
			Ports: []Port{{Name: "dns", Proto: ProtoUDP, Number: 53}}, Owner: Owner{"DaemonSet", "dns"}, StartMs: 1000,
		}},
		{Pod: &Pod{
			Namespace: "kube-system", Name: "ingress-n1", UID: uid(12), Node: "n1", IPs: []netip.Addr{ip("192.0.2.1")}, HostNetwork: true,
			Ports: []Port{{Proto: ProtoTCP, Number: 443}}, StartMs: 1000,
		}},
		{Service: &Service{
			Namespace: "web", Name: "front", UID: uid(20), ClusterIPs: []netip.Addr{ip("10.96.0.7"), ip("fd00:96::7")},
			ExternalIPs: []netip.Addr{ip("198.51.100.9")},
			Ports:       []Port{{Name: "http", Proto: ProtoTCP, Number: 80, Node: 30080}, {Proto: ProtoUDP, Number: 53}}, StartMs: 1000,
		}},
		{Endpoints: &EndpointSlice{Namespace: "web", Name: "front-abc", Service: "front", Addresses: []netip.Addr{ip("10.244.1.5")}, Ports: []Port{{Name: "http", Proto: ProtoTCP, Number: 8080}}}},
		{ReplicaSet: &ReplicaSet{Namespace: "web", Name: "front-5d9c", Owner: Owner{"Rollout", "front"}}},
	}
}

// TestLookup asks about one world, its events applied in many orders.
func TestLookup(t *testing.T) {
	for seed := range uint64(24) {
		ev := world()
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(ev), func(i, j int) { ev[i], ev[j] = ev[j], ev[i] })
		m := NewModel(DefaultLimits())
		for _, e := range ev {
			m.Apply(10_000, e)
			m.Apply(10_001, e) // a resync repeats
		}
		x := m.Index()
		for _, c := range []struct {
			addr  string
			proto uint8
			port  uint16
			want  string
		}{
			{"10.244.1.5", 6, 80, "pod web/front-5d9c-x1 Rollout/front n1 za"},
			{"fd00:1::5", 6, 80, "pod web/front-5d9c-x1 Rollout/front n1 za"},
			{"192.0.2.2", 17, 53, "host_pod kube-system/dns-n2 DaemonSet/dns n2 zb"},
			{"192.0.2.2", 6, 53, "node / n2 zb"},
			{"192.0.2.1", 6, 443, "host_pod kube-system/ingress-n1 Pod/ingress-n1 n1 za"},
			{"203.0.113.1", 6, 443, "host_pod kube-system/ingress-n1 Pod/ingress-n1 n1 za"},
			{"2001:db8::1", 6, 22, "node / n1 za"},
			{"10.244.2.1", 6, 22, "node / n2 zb"},
			{"10.244.2.77", 6, 22, "unknown / n2 zb"},
			{"fd00:1::77", 6, 22, "unknown / n1 za"},
			{"8.8.8.8", 17, 53, "-"},
		} {
			got := "-"
			if id := x.Lookup(a16(c.addr), c.proto, c.port, 10_002); id != nil {
				got = flow.EndKindWords[id.Kind] + " " + id.Namespace + "/" + id.Name
				if id.Workload != "" {
					got += " " + id.Workload
				}
				got += " " + id.Node() + " " + id.Zone()
			}
			if got != c.want {
				t.Errorf("seed %d: %s:%d/%d is %q, want %q", seed, c.addr, c.port, c.proto, got, c.want)
			}
		}
		for _, c := range []struct {
			addr  string
			proto uint8
			port  uint16
			want  string
		}{
			{"10.96.0.7", 6, 80, "web/front:http"},
			{"fd00:96::7", 6, 80, "web/front:http"},
			{"198.51.100.9", 6, 80, "web/front:http"},
			{"10.96.0.7", 17, 53, "web/front"},
			{"10.96.0.7", 17, 80, "-"},
			{"192.0.2.2", 6, 30080, "web/front:http"},
			{"8.8.8.8", 6, 30080, "-"},
		} {
			got := "-"
			if s := x.Service(a16(c.addr), c.proto, c.port, 10_002); s != nil {
				got = s.Ref
			}
			if got != c.want {
				t.Errorf("seed %d: service at %s:%d/%d is %q, want %q", seed, c.addr, c.port, c.proto, got, c.want)
			}
		}
		if s := x.Backend(a16("10.244.1.5"), 6, 8080, 30080); s == nil || s.Ref != "web/front:http" {
			t.Errorf("seed %d: backend is %v", seed, s)
		}
		if s := x.Backend(a16("10.244.1.5"), 6, 8080, 81); s != nil {
			t.Errorf("seed %d: backend through a port that the service lacks is %v", seed, s)
		}
	}
}

// TestDeleteAll takes the world down again: names of the past stay, names of the
// present go, and after the age nothing is held.
func TestDeleteAll(t *testing.T) {
	m := NewModel(DefaultLimits())
	ev := world()
	for _, e := range ev {
		m.Apply(10_000, e)
	}
	for _, e := range ev {
		e.Delete = true
		m.Apply(50_000, e)
	}
	x := m.Index()
	if got := name(x.Lookup(a16("10.244.1.5"), 6, 80, 49_000)); got != "front-5d9c-x1" {
		t.Errorf("in the past: %s", got)
	}
	if got := name(x.Lookup(a16("10.244.1.5"), 6, 80, 60_000)); got != "-" {
		t.Errorf("after its end: %s", got)
	}
	if x.Service(a16("10.96.0.7"), 6, 80, 49_000) == nil || x.Service(a16("10.96.0.7"), 6, 80, 60_000) != nil {
		t.Error("the Service is not known for its time only")
	}
	m.Expire(50_000 + DefaultLimits().AgeMs + 1)
	s := m.Stats()
	if s.Spans != 0 || s.Pods != 0 || s.Nodes != 0 || s.Services != 0 || s.EndpointSlices != 0 || len(m.nodes) != 0 || len(m.byRS) != 0 || len(m.bySvc) != 0 {
		t.Errorf("held after the age: %+v, %d node references", s, len(m.nodes))
	}
	if s.Evicted.Age == 0 || s.Evicted.Total != 0 || s.Evicted.PerKey != 0 {
		t.Errorf("evictions: %+v", s.Evicted)
	}
}

// TestRecreate coalesces deletion and creation of one name into one change.
func TestRecreate(t *testing.T) {
	m := NewModel(DefaultLimits())
	p := Pod{Namespace: "d", Name: "db-0", UID: uid(1), IPs: []netip.Addr{ip("10.0.0.1")}, StartMs: 1000}
	m.Apply(1500, Event{Pod: &p})
	q := p
	q.UID, q.StartMs, q.IPs = uid(2), 30_000, []netip.Addr{ip("10.0.0.2")}
	m.Apply(60_000, Event{Pod: &q})
	x := m.Index()
	if id := x.Lookup(a16("10.0.0.1"), 6, 1, 29_000); id == nil || id.UID != uid(1) {
		t.Errorf("old address, old time: %+v", id)
	}
	if id := x.Lookup(a16("10.0.0.1"), 6, 1, 50_000); id != nil {
		t.Errorf("old address after the new pod's start: %+v", id)
	}
	if id := x.Lookup(a16("10.0.0.2"), 6, 1, 50_000); id == nil || id.UID != uid(2) {
		t.Errorf("new address: %+v", id)
	}
	done := q
	done.Done, done.EndMs = true, 70_000
	m.Apply(90_000, Event{Pod: &done})
	if id := x.Lookup(a16("10.0.0.2"), 6, 1, 80_000); id != nil {
		t.Errorf("a pod that ended at 70 s has its address at 80 s: %+v", id)
	}
}

func TestBounds(t *testing.T) {
	lim := Limits{AgeMs: 600_000, PerKey: 4, Ended: 50, SlackMs: 0}
	m := NewModel(lim)
	for i := range 1000 {
		p := &Pod{Namespace: "d", Name: fmt.Sprint(i), UID: uid(i), IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i % 100 / 10), byte(i % 10)})}}
		m.Apply(int64(i*10), Event{Pod: p})
		m.Apply(int64(i*10+5), Event{Pod: p, Delete: true})
	}
	m.Expire(10_000)
	s := m.Stats()
	if s.Spans > 50 || s.Evicted.PerKey+s.Evicted.Total+uint64(s.Spans) != 1000 {
		t.Errorf("1,000 ended claims under a cap of 50: %+v", s)
	}
}

// TestReaders reads while the model is written; the race detector judges.
func TestReaders(t *testing.T) {
	m := NewModel(DefaultLimits())
	for _, e := range world() {
		m.Apply(1, e)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if id := m.Index().Lookup(a16("10.244.1.5"), 6, 80, 2000); id != nil {
					_ = id.Zone()
				}
				m.Index().Service(a16("192.0.2.2"), 6, 30080, 2000)
				m.Index().Backend(a16("10.244.1.5"), 6, 8080, 80)
				_ = m.Stats()
			}
		})
	}
	for i := range 300 {
		for _, e := range world() {
			e.Delete = i%2 == 0
			m.Apply(int64(i), e)
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	m := NewModel(DefaultLimits())
	for i := range 10_000 {
		m.Apply(1000, Event{Pod: &Pod{Namespace: "d", Name: fmt.Sprint(i), UID: uid(i), Node: "n1", IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}}})
	}
	b.Run("weir", func(b *testing.B) {
		b.ReportAllocs()
		x, i := m.Index(), 0
		for b.Loop() {
			i = (i + 7919) % 10_000
			if x.Lookup(flow.Addr16(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), 6, 80, 2000) == nil {
				b.Fatal("not found")
			}
		}
	})
}
