package enrich

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
	"github.com/weirnet/weir/internal/cluster"
)

var update = flag.Bool("update", false, "write the golden files")

func ips(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func world() *cluster.Model {
	m := cluster.NewModel(cluster.DefaultLimits())
	node := func(i byte, zone string) cluster.Event {
		return cluster.Event{Node: &cluster.Node{
			Name: fmt.Sprintf("n%d", i), UID: cluster.UID{i}, Zone: zone, Addresses: ips(fmt.Sprintf("192.0.2.%d", i)),
			PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", i))}, StartMs: 1,
		}}
	}
	pod := func(ns, name, node, owner string, start int64, addr ...string) cluster.Event {
		kind, on, _ := strings.Cut(owner, "/")
		return cluster.Event{Pod: &cluster.Pod{
			Namespace: ns, Name: name, UID: cluster.UID{1, name[0], byte(start)}, Node: node, IPs: ips(addr...), StartMs: start,
			Owner: cluster.Owner{Kind: kind, Name: on}, TemplateHash: "7f", Labels: `{"app":"` + on + `"}`,
		}}
	}
	for _, e := range []cluster.Event{
		node(1, "za"), node(2, "za"), node(3, "zb"),
		pod("shop", "web-7f-a", "n1", "ReplicaSet/web-7f", 1000, "10.244.1.5", "fd00:1::5"),
		pod("shop", "db-0", "n1", "StatefulSet/db", 1000, "10.244.1.6"),
		pod("shop", "api-7f-b", "n2", "ReplicaSet/api-7f", 1000, "10.244.2.5", "fd00:2::5"),
		pod("shop", "cache-0", "n3", "StatefulSet/cache", 1000, "10.244.3.5"),
		{Pod: &cluster.Pod{
			Namespace: "kube-system", Name: "dns-x", UID: cluster.UID{9}, Node: "n2", IPs: ips("192.0.2.2"), HostNetwork: true,
			Ports: []cluster.Port{{Proto: 17, Number: 53}}, Owner: cluster.Owner{Kind: "DaemonSet", Name: "dns"}, StartMs: 1000,
		}},
		{Service: &cluster.Service{
			Namespace: "shop", Name: "api", UID: cluster.UID{20}, ClusterIPs: ips("10.96.0.7", "fd00:96::7"), ExternalIPs: ips("198.51.100.9"),
			Ports: []cluster.Port{{Name: "http", Proto: 6, Number: 80, Node: 30080}}, StartMs: 1,
		}},
		{Endpoints: &cluster.EndpointSlice{
			Namespace: "shop", Name: "api-1", Service: "api", Addresses: ips("10.244.2.5"),
			Ports: []cluster.Port{{Name: "http", Proto: 6, Number: 8080}},
		}},
	} {
		m.Apply(1500, e)
	}
	return m
}

// conn reads "proto client:port>dialled:port", and "=> server:port>client:port"
// behind it where the reply is another.
func conn(tb testing.TB, s string) *track.Conn {
	tb.Helper()
	orig, reply, nat := strings.Cut(s, " => ")
	var proto uint8
	var tail string
	if _, err := fmt.Sscanf(orig, "%d %s", &proto, &tail); err != nil {
		tb.Fatal(err)
	}
	tuple := func(s string) flow.Tuple {
		a, b, _ := strings.Cut(s, ">")
		x, y := netip.MustParseAddrPort(a), netip.MustParseAddrPort(b)
		return flow.Tuple{Src: flow.Addr16(x.Addr()), Dst: flow.Addr16(y.Addr()), SrcPort: x.Port(), DstPort: y.Port(), Proto: proto}
	}
	c := &track.Conn{Orig: tuple(tail), Zone: 7, Mark: 3, Status: 0x18e}
	c.Reply = c.Orig.Reverse()
	if nat {
		c.Reply = tuple(reply)
	}
	return c
}

func dump(r *flow.Record) string {
	var b strings.Builder
	v := reflect.ValueOf(r).Elem()
	for i, f := range flow.Fields {
		if r.Has.Has(flow.FieldID(i)) {
			fmt.Fprintf(&b, "  %s=%v\n", f.Name, v.FieldByName(f.Go).Interface())
		}
	}
	return b.String()
}

func names(tb testing.TB) *Names {
	tb.Helper()
	n, err := ParseNames("names.txt", []byte("# offices\n203.0.113.0/24 office\n203.0.113.9\tprinter room 2\n0.0.0.0/0 internet\n2001:db8::/32 partner\n"))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

var cases = []struct{ name, node, conn string }{
	{"same node", "n1", "6 10.244.1.5:40000>10.244.1.6:5432"},
	{"cross node by ClusterIP, at the client", "n1", "6 10.244.1.5:40000>10.96.0.7:80 => 10.244.2.5:8080>10.244.1.5:40000"},
	{"cross node by ClusterIP, at the server", "n2", "6 10.244.1.5:40000>10.244.2.5:8080"},
	{"cross zone", "n1", "17 10.244.1.5:40000>10.244.3.5:11211"},
	{"IPv6 by ClusterIP", "n1", "6 [fd00:1::5]:40000>[fd00:96::7]:80 => [fd00:2::5]:8080>[fd00:1::5]:40000"},
	{"to the outside, masqueraded", "n1", "6 10.244.1.5:40000>203.0.113.9:443 => 203.0.113.9:443>192.0.2.1:61000"},
	{"from the outside by NodePort, at the entry", "n1", "6 203.0.113.50:50000>192.0.2.1:30080 => 10.244.2.5:8080>10.244.1.1:62000"},
	{"from the outside by NodePort, at the server", "n2", "6 10.244.1.1:62000>10.244.2.5:8080"},
	{"from the outside by an unknown balancer, local", "n2", "6 203.0.113.50:50000>198.51.100.77:80 => 10.244.2.5:8080>203.0.113.50:50000"},
	{"Service without endpoints", "n1", "6 10.244.1.5:40000>198.51.100.9:80"},
	{"ClusterIP without endpoints", "n1", "6 10.244.1.5:40000>10.96.0.7:80"},
	{"hostNetwork server", "n1", "17 10.244.1.5:40000>192.0.2.2:53"},
	{"node to node", "n1", "6 192.0.2.1:40000>192.0.2.2:10250"},
	{"ping", "n1", "1 10.244.1.5:77>10.244.2.5:2048 => 10.244.2.5:77>10.244.1.5:0"},
	{"ping through a translation", "n1", "1 203.0.113.9:77>10.244.2.5:2048 => 10.244.2.5:99>10.244.1.1:0"},
	{"passing", "n1", "6 203.0.113.50:50000>198.51.100.77:80"},
	{"loopback", "n1", "6 127.0.0.1:50000>127.0.0.1:80"},
	{"multicast", "n1", "17 192.0.2.1:5353>224.0.0.251:5353"},
	{"unknown pod", "n1", "6 10.244.1.99:50000>10.244.2.5:80"},
}

func TestFill(t *testing.T) {
	m := world()
	var b strings.Builder
	for i, c := range cases {
		e := New(Config{Node: c.node, ClusterID: "c1", Names: names(t), Labels: i == 0, Datapath: i == 1}, m.Index())
		k := conn(t, c.conn)
		k.Labels = [16]byte{7, 0, 0, 0, 9, 1}
		x := track.Export{Conn: k, ConnID: 99, Seq: 2, StartMs: 5000, EndMs: 9000, Reason: flow.EndReasonActive, First: i == 0, Final: i == 1}
		if k.Orig.Proto == 6 {
			k.HasTCP, k.TCPState = true, 3
			x.Outcome, x.Evidence = flow.OutcomeOK, flow.EvidenceConntrack
		}
		if i == 0 {
			k.HasCounters, k.Counters = true, track.Counters{OrigPackets: 10, OrigBytes: 1000, ReplyPackets: 8, ReplyBytes: 4000}
			x.Delta = track.Counters{OrigPackets: 1, OrigBytes: 100}
		}
		r := flow.Record{Throughput: 5} // left over from before
		e.Fill(9500, &x, &r)
		fmt.Fprintf(&b, "%s (%s): %s\n%s\n", c.name, c.node, c.conn, dump(&r))
	}
	file := filepath.Join("testdata", "records.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("records differ (-want +got), run with -update and read the diff:\n%s", d)
	}
}

// TestTime recreates a pod's address and asks for flows of before and after.
func TestTime(t *testing.T) {
	m := world()
	old := &cluster.Pod{Namespace: "d", Name: "old", UID: cluster.UID{1}, Node: "n1", IPs: ips("10.244.1.50"), StartMs: 10_000}
	niu := &cluster.Pod{Namespace: "d", Name: "new", UID: cluster.UID{2}, Node: "n1", IPs: ips("10.244.1.50"), StartMs: 60_000}
	m.Apply(10_500, cluster.Event{Pod: old})
	m.Apply(59_000, cluster.Event{Pod: old, Delete: true})
	m.Apply(61_000, cluster.Event{Pod: niu})
	e := New(Config{Node: "n1"}, m.Index())
	for _, c := range []struct {
		conn       string
		start, end int64
		want       string
	}{
		{"6 10.244.1.50:1>10.244.1.5:80", 20_000, 30_000, "old"},
		{"6 10.244.1.50:1>10.244.1.5:80", 50_000, 61_500, "old"}, // last packets outlive the pod
		{"17 10.244.1.50:1>10.244.1.5:80", 20_000, 70_000, "new"},
		{"17 10.244.1.50:1>10.244.1.5:80", 0, 30_000, "old"},
		{"6 10.244.1.50:1>10.244.1.5:80", 65_000, 99_000, "new"},
		{"6 10.244.1.50:1>10.244.1.5:80", 2000, 4000, ""},
	} {
		var r flow.Record
		e.Fill(100_000, &track.Export{Conn: conn(t, c.conn), StartMs: c.start, EndMs: c.end}, &r)
		if r.SrcPod != c.want {
			t.Errorf("%s from %d to %d: pod %q, want %q", c.conn, c.start, c.end, r.SrcPod, c.want)
		}
	}
}

// TestRouteTuple checks that the two nodes of a connection agree.
func TestRouteTuple(t *testing.T) {
	for _, c := range []struct{ name, a, b string }{
		{"plain", "6 10.244.1.5:40000>10.244.2.5:8080", "6 10.244.1.5:40000>10.244.2.5:8080"},
		{"ClusterIP", "6 10.244.1.5:40000>10.96.0.7:80 => 10.244.2.5:8080>10.244.1.5:40000", "6 10.244.1.5:40000>10.244.2.5:8080"},
		{"NodePort", "6 203.0.113.50:50000>192.0.2.1:30080 => 10.244.2.5:8080>10.244.1.1:62000", "6 10.244.1.1:62000>10.244.2.5:8080"},
		{"seen from the other side", "17 10.244.1.5:40000>10.244.2.5:53", "17 10.244.2.5:53>10.244.1.5:40000"},
		{"ping", "1 10.244.1.5:77>10.244.2.5:2048 => 10.244.2.5:77>10.244.1.5:0", "1 10.244.1.5:77>10.244.2.5:2048 => 10.244.2.5:77>10.244.1.5:0"},
	} {
		x, y := &track.Export{Conn: conn(t, c.a)}, &track.Export{Conn: conn(t, c.b)}
		if RouteTuple(x) != RouteTuple(y) {
			t.Errorf("%s: %v and %v", c.name, RouteTuple(x), RouteTuple(y))
		}
		e := New(Config{Node: "n1"}, world().Index())
		var r, s flow.Record
		e.Fill(9000, x, &r)
		e.Fill(9000, y, &s)
		if RouteRecord(&r) != RouteTuple(x) || RouteRecord(&s) != RouteTuple(y) {
			t.Errorf("%s: by record %v and %v, by entry %v", c.name, RouteRecord(&r), RouteRecord(&s), RouteTuple(x))
		}
	}
}

func TestNames(t *testing.T) {
	n := names(t)
	for addr, want := range map[string]string{
		"203.0.113.1": "office", "203.0.113.9": "printer room 2", "9.9.9.9": "internet", "2001:db8::1": "partner", "2001:db9::1": "",
	} {
		if got := n.Of(flow.Addr16(netip.MustParseAddr(addr))); got != want {
			t.Errorf("%s is %q, want %q", addr, got, want)
		}
	}
	for in, want := range map[string]string{
		"10.0.0.0/8 a\n\n10.0.0.0/8 b":           `names.txt:3: network named twice: line 1 names it "a"`,
		"10.0.0.1/8 a":                           "names.txt:1: 10.0.0.1/8 has bits behind the prefix: write 10.0.0.0/8",
		"10.0.0.0/8":                             `names.txt:1: "10.0.0.0/8" has no name: write CIDR, a blank and the name`,
		"# x\noffice 10.0.0.0/8":                 `names.txt:2: "office" is no address and no CIDR: write 203.0.113.0/24 or 2001:db8::/32`,
		"10.0.0.0/33 a":                          `names.txt:1: "10.0.0.0/33" is no CIDR: write 203.0.113.0/24 or 2001:db8::/32`,
		"::ffff:10.0.0.1 a":                      "names.txt:1: ::ffff:10.0.0.1 is an IPv4 address in IPv6 form: write 10.0.0.1",
		"10.0.0.0/8 a\x01b":                      "names.txt:1: name of 10.0.0.0/8 has a control character",
		"10.0.0.0/8 \xff":                        "names.txt:1: name of 10.0.0.0/8 is not UTF-8",
		"10.0.0.0/8 " + strings.Repeat("a", 256): "names.txt:1: name of 10.0.0.0/8 has 256 bytes: at most 255",
		"a " + strings.Repeat("a", 70_000):       "names.txt:1: bufio.Scanner: token too long: lines are at most 65536 bytes",
	} {
		_, err := ParseNames("names.txt", []byte(in))
		if err == nil || err.Error() != want {
			t.Errorf("%.40q: error %v, want %s", in, err, want)
		}
	}
}

func FuzzParseNames(f *testing.F) {
	f.Add([]byte("10.0.0.0/8 a\n2001:db8::/32 b\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if n, err := ParseNames("f", data); err == nil {
			n.Of([16]byte{1})
		}
	})
}

func BenchmarkFill(b *testing.B) {
	m := world()
	e := New(Config{Node: "n1", ClusterID: "c1", Names: names(b), Labels: true, Datapath: true}, m.Index())
	var xs []track.Export
	for _, c := range cases {
		k := conn(b, c.conn)
		k.HasCounters, k.HasTCP, k.TCPState = true, true, 3
		xs = append(xs, track.Export{Conn: k, StartMs: 5000, EndMs: 9000, Outcome: flow.OutcomeOK})
	}
	var r flow.Record
	b.Run("weir", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			e.Fill(9500, &xs[i%len(xs)], &r)
			i++
		}
	})
}

func TestFillAllocates(t *testing.T) {
	m := world()
	e := New(Config{Node: "n1", Names: names(t), Labels: true}, m.Index())
	var r flow.Record
	for _, c := range cases {
		x := track.Export{Conn: conn(t, c.conn), StartMs: 5000, EndMs: 9000}
		if n := testing.AllocsPerRun(100, func() { e.Fill(9500, &x, &r) }); n != 0 {
			t.Errorf("%s: %v allocations a record, want 0", c.name, n)
		}
	}
}
