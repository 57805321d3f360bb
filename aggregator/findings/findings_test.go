package findings

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/query"
)

var (
	cartPay = EdgeKey{"shop/Deployment/cart", "shop/Deployment/pay", 6, 8443}
	webAPI  = EdgeKey{"shop/Deployment/web", "shop/Deployment/api", 6, 80}
	dns     = EdgeKey{"shop/Deployment/web", "203.0.113.9", 17, 53}
)

func period(edges map[EdgeKey]Edge) *Period { return &Period{Edges: edges} }

func texts(r Report) (out []string) {
	for _, f := range r.Findings {
		out = append(out, string(f.Kind)+": "+f.Text)
	}
	return out
}

func TestCompare(t *testing.T) {
	before := period(map[EdgeKey]Edge{
		cartPay:                             {Conns: 100, Failed: 1, Worst: "refused", Packets: 1000},
		webAPI:                              {Conns: 50, Packets: 10_000, Retrans: 20},
		{"a/Job/x", "b/Deployment/y", 6, 1}: {Conns: 12},
		{"a/Job/x", "b/Deployment/z", 6, 1}: {Conns: 9},
	})
	before.Pairs = map[PairKey]Pair{{"n1", "n2"}: {Sent: 100_000, Missing: 2}, {"n2", "n1"}: {Sent: 1000, Missing: 100}}
	now := period(map[EdgeKey]Edge{
		cartPay: {Conns: 62, Failed: 31, Worst: "refused", Packets: 500},
		webAPI:  {Conns: 50, Packets: 10_000, Retrans: 300, Denied: 3},
		dns:     {Conns: 7},
	})
	now.Pairs = map[PairKey]Pair{{"n1", "n2"}: {Sent: 100_000, Missing: 3000}, {"n2", "n1"}: {Sent: 1000, Missing: 90}, {"n1", "n3"}: {Sent: 10_000, Missing: 9}}
	nodes := []Node{{Name: "n1", FillPct: 20}, {Name: "n3", Silent: true, SilentFor: "4 min", FillPct: -1}, {Name: "n4", FillPct: 50, FullIn: "12 min", FullInSecs: 720}, {Name: "n5", FillPct: 85}, {Name: "n6", FillPct: 100, Drops: 7, EarlyDrops: 2, Within: "1m0s"}}
	got := Compare(now, before, true, nodes)
	want := []string{
		"node_silent: node n3 has sent nothing for 4 min",
		"conntrack: conntrack of node n6 is filled to 100 %; 2 entries were thrown out to make room within 1m0s; 7 packets of new connections were dropped within 1m0s",
		"conntrack: conntrack of node n4 is filled to 50 %, full in 12 min",
		"conntrack: conntrack of node n5 is filled to 85 %",
		"failing: shop/Deployment/cart -> shop/Deployment/pay:8443 fails: 50 % refused, 1.0 % before",
		"denied: shop/Deployment/web -> shop/Deployment/api:80 is denied: 6.0 %, none before",
		"loss: n1 loses packets to n2: 3.0 % (3000 of 100000), 0.00 % before",
		"loss: n2 loses packets to n1: 9.0 % (90 of 1000), 10 % before",
		"retransmits: shop/Deployment/web -> shop/Deployment/api:80 sends packets again: 3.0 % of them, 0.2 % before",
		"gone: a/Job/x -> b/Deployment/y:1 is gone: it had 12 connections in the period before",
		"new: shop/Deployment/web -> 203.0.113.9:53/udp is new: 7 connections",
	}
	if d := cmp.Diff(want, texts(got)); d != "" {
		t.Error(d)
	}
	if got.Calm != "" || got.Findings[4].Query != `src.ns = shop src.workload = "Deployment/cart" dst.ns = shop dst.workload = "Deployment/pay" dst.port = 8443 proto = tcp outcome not in (ok, denied, unknown)` {
		t.Errorf("%+v", got.Findings[2])
	}
	for range 20 {
		if d := cmp.Diff(got, Compare(now, before, true, nodes)); d != "" {
			t.Fatalf("not the same twice: %s", d)
		}
	}
}

func TestCalm(t *testing.T) {
	p := period(map[EdgeKey]Edge{cartPay: {Conns: 100, Failed: 2, Worst: "reset"}, webAPI: {Conns: 5}})
	r := Compare(p, p, true, nil)
	if len(r.Findings) != 0 || r.Calm != "all is calm: 105 connections on 2 edges, none fails that did not before, nothing is lost between nodes" {
		t.Errorf("%+v", r)
	}
	// An edge that always failed is no news; without a period before, nothing is new.
	bad := period(map[EdgeKey]Edge{cartPay: {Conns: 100, Failed: 60, Worst: "refused"}})
	if r := Compare(bad, bad, true, nil); len(r.Findings) != 0 {
		t.Errorf("as it always was: %v", texts(r))
	}
	if r := Compare(p, period(nil), false, nil); len(r.Findings) != 0 || !strings.Contains(r.Calm, "no period before") {
		t.Errorf("%+v", r)
	}
}

func TestFolds(t *testing.T) {
	now := period(map[EdgeKey]Edge{})
	for i := range 30 {
		now.Edges[EdgeKey{"a/Job/x", fmt.Sprintf("b/Job/%02d", i), 6, 1}] = Edge{Conns: uint64(100 - i)}
	}
	r := Compare(now, period(nil), true, nil)
	if len(r.Findings) != maxPerKind || r.Folded != 30-maxPerKind || r.Findings[0].Score != 100 {
		t.Errorf("%d findings, %d folded", len(r.Findings), r.Folded)
	}
}

func TestDifferences(t *testing.T) {
	list := []Histogram{
		{Field: "dst.node", Region: map[string]uint64{"node-3": 97, "node-1": 3}, Rest: map[string]uint64{"node-3": 310, "node-1": 690}, RegionN: 100, RestN: 1000},
		{Field: "src.ns", Region: map[string]uint64{"shop": 50, "ops": 50}, Rest: map[string]uint64{"shop": 500, "ops": 500}, RegionN: 100, RestN: 1000},
		{Field: "dst.port", Region: map[string]uint64{"8443": 60, "53": 40}, Rest: map[string]uint64{"8443": 400, "53": 600}, RegionN: 100, RestN: 1000},
		{Field: "src.name", Region: map[string]uint64{"rare": 4}, Rest: map[string]uint64{}, RegionN: 4, RestN: 1000},
		{Field: "empty", RegionN: 0, RestN: 0},
	}
	var got []string
	for _, d := range Differences(list, 5) {
		got = append(got, d.Text)
	}
	if d := cmp.Diff([]string{"dst.node = node-3: 97 % vs 31 %", "dst.port = 8443: 60 % vs 40 %"}, got); d != "" {
		t.Error(d)
	}
	if n := len(Differences(list, 1)); n != 1 {
		t.Errorf("limit 1 gives %d", n)
	}
}

// TestQueriesAreQueries: whatever a finding shows, the query bar takes.
func TestQueriesAreQueries(t *testing.T) {
	now, before := period(map[EdgeKey]Edge{}), period(map[EdgeKey]Edge{})
	for i, src := range []string{"shop/Deployment/cart", "203.0.113.9", "2001:db8::9", "", "example.com", `a "b" \ c`, "office net"} {
		for j, dst := range []string{"shop/Deployment/pay", "198.51.100.7", "", "or"} {
			k := EdgeKey{src, dst, 6, uint16(i*10 + j)}
			now.Edges[k] = Edge{Conns: 50, Failed: 20, Denied: 20, Worst: "refused", Packets: 100, Retrans: 50}
			k.Proto = 17
			before.Edges[k] = Edge{Conns: 50}
		}
	}
	now.Pairs = map[PairKey]Pair{{"node-1", "node 2"}: {Sent: 100, Missing: 50}}
	n := 0
	for k, e := range now.Edges {
		for _, f := range edge(k, e, Edge{}, true) {
			if _, err := query.Parse(f.Query); err != nil {
				t.Errorf("%s: %s: %v", f.Text, f.Query, err)
			}
			n++
		}
	}
	for _, f := range Compare(period(nil), before, true, nil).Findings {
		if _, err := query.Parse(f.Query); err != nil {
			t.Errorf("%s: %s: %v", f.Text, f.Query, err)
		}
	}
	if f := pair(PairKey{"node-1", "node 2"}, Pair{100, 50}, Pair{}, true); f == nil {
		t.Error("half of the packets are lost and nothing is said")
	} else if _, err := query.Parse(f.Query); err != nil {
		t.Error(err)
	}
	if n < 80 {
		t.Errorf("only %d findings were tried", n)
	}
}
