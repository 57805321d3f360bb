package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/internal/cluster"
)

// world is three nodes of both families; the first two have canary pods.
func planWorld() *cluster.Model {
	m := cluster.NewModel(cluster.DefaultLimits())
	addrs := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for i := 1; i <= 4; i++ {
		m.Apply(1, cluster.Event{Node: &cluster.Node{Name: fmt.Sprintf("node-%d", i), NotReady: i == 4, Addresses: addrs(fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("fd00::%d", i))}})
	}
	pod := func(name, node, ip4, ip6 string, done bool) {
		m.Apply(1, cluster.Event{Pod: &cluster.Pod{Namespace: "canary", Name: name, Node: node, IPs: addrs(ip4, ip6), Done: done}})
	}
	pod("a-1", "node-1", "10.1.0.2", "fd01::2", false)
	pod("b-1", "node-1", "10.1.0.3", "fd01::3", false)
	pod("a-2", "node-2", "10.2.0.2", "fd02::2", false)
	pod("old", "node-2", "10.2.0.9", "fd02::9", true)
	m.Apply(1, cluster.Event{Service: &cluster.Service{
		Namespace: "canary", Name: "web", ClusterIPs: addrs("10.96.0.9"),
		Ports: []cluster.Port{{Proto: 17, Number: 61997}, {Proto: 6, Number: 61996}, {Proto: 6, Number: 80}},
	}})
	m.Apply(1, cluster.Event{Service: &cluster.Service{Namespace: "canary", Name: "other", ClusterIPs: addrs("10.96.0.8"), Ports: []cluster.Port{{Proto: 6, Number: 80}}}})
	return m
}

func planText(p Plan) string {
	var b strings.Builder
	for i := range p.Targets {
		t := &p.Targets[i]
		fmt.Fprintf(&b, "%s %s>%s %s@%s>%s@%s %v ns=%s svc=%s port=%d\n", t.Class, t.From, t.To, t.Src, t.SrcNode, t.Dst, t.DstNode, t.Kinds, t.NetNS, t.Service, t.Port)
	}
	for _, s := range p.Skipped {
		fmt.Fprintf(&b, "skip %s %s: %s\n", s.Class, s.Family, s.Why)
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	addr := netip.MustParseAddr
	pl := Planner{
		Node: "node-1", Addresses: []netip.Addr{addr("10.0.0.1"), addr("fd00::1")}, Namespace: "canary", Cluster: planWorld().Index(),
		External: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:443")},
		NetNS:    func(a netip.Addr) (string, bool) { return "/run/netns/" + a.String(), a.Is4() },
	}
	want := `host 10.0.0.1>10.0.0.2 node-1@node-1>node-2@node-2 [tcp udp refused] ns= svc= port=0
host fd00::1>fd00::2 node-1@node-1>node-2@node-2 [tcp udp refused] ns= svc= port=0
same-node 10.1.0.2>10.1.0.3 canary/a-1@node-1>canary/b-1@node-1 [tcp udp refused] ns=/run/netns/10.1.0.2 svc= port=0
cross-node 10.1.0.2>10.2.0.2 canary/a-1@node-1>canary/a-2@node-2 [tcp udp refused] ns=/run/netns/10.1.0.2 svc= port=0
service 10.1.0.2>10.96.0.9 canary/a-1@node-1>@ [tcp udp] ns=/run/netns/10.1.0.2 svc=canary/web port=0
external 10.1.0.2>192.0.2.1 canary/a-1@node-1>@ [tcp] ns=/run/netns/10.1.0.2 svc= port=443
skip same-node v6: the network namespace of canary/a-1 (fd01::2) is not found
`
	if diff := cmp.Diff(want, planText(pl.Make(0))); diff != "" {
		t.Error(diff)
	}
	// Each run has another peer; a node that is not ready is left out.
	var peers []string
	for turn := range 3 {
		peers = append(peers, pl.Make(turn).Targets[0].Dst)
	}
	if diff := cmp.Diff([]string{"node-2", "node-3", "node-2"}, peers); diff != "" {
		t.Error(diff)
	}
	pl.Node = "node-3" // no canary pod there
	if got := planText(pl.Make(0)); !strings.Contains(got, "skip same-node v4: no canary pod of canary is on this node") {
		t.Error(got)
	}
	pl = Planner{Node: "alone", Addresses: pl.Addresses, Peers: []netip.Addr{addr("10.9.9.9")}}
	if got := planText(pl.Make(7)); got != "host 10.0.0.1>10.9.9.9 alone@alone>@ [tcp udp refused] ns= svc= port=0\n" {
		t.Error(got)
	}
}
