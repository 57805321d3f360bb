package enrich

import (
	"net/netip"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/dns"
	"github.com/weirnet/weir/exporter/track"
)

// seen is a small DNS: what a client asked for, from when on.
type seen struct {
	client, addr, name string
	fromMs             int64
	flows              map[flow.Tuple]dns.Flow
}

func (s seen) Name(client, addr [16]byte, startMs, _ int64) string {
	if client == flow.Addr16(netip.MustParseAddr(s.client)) && addr == flow.Addr16(netip.MustParseAddr(s.addr)) && startMs >= s.fromMs {
		return s.name
	}
	return ""
}

func (s seen) Flow(t *flow.Tuple) (dns.Flow, bool) {
	f, ok := s.flows[*t]
	return f, ok
}

// TestDNSNames has the asked name win over the network's, for the asking client and
// for connections that began after the answer.
func TestDNSNames(t *testing.T) {
	m := world()
	d := seen{"10.244.1.5", "203.0.113.9", "api.example.com", 2000, nil}
	e := New(Config{Node: "n1", Names: names(t), DNS: d}, m.Index())
	for _, c := range []struct {
		conn  string
		start int64
		name  string
		via   flow.NameVia
	}{
		{"6 10.244.1.5:40000>203.0.113.9:443 => 203.0.113.9:443>192.0.2.1:61000", 5000, "api.example.com", flow.NameDNS},
		{"6 10.244.1.5:40000>203.0.113.9:443", 1500, "printer room 2", flow.NameCIDR},
		{"6 10.244.1.6:40000>203.0.113.9:443", 5000, "printer room 2", flow.NameCIDR},
		{"6 10.244.1.5:40000>203.0.113.8:443", 5000, "office", flow.NameCIDR},
		{"6 10.244.1.5:40000>203.0.113.9:443", 0, "api.example.com", flow.NameDNS}, // by its end
		{"6 10.244.1.5:40000>10.244.1.6:443", 5000, "", flow.NameNone},             // a pod has its own name
	} {
		var r flow.Record
		e.Fill(9500, &track.Export{Conn: conn(t, c.conn), StartMs: c.start, EndMs: 9000}, &r)
		if r.DstName != c.name || r.DstNameVia != c.via {
			t.Errorf("%s at %d: %q via %s, want %q via %s", c.conn, c.start, r.DstName, r.Text(flow.FDstNameVia), c.name, flow.NameViaWords[c.via])
		}
	}
}

// TestDNSFlow fills what a DNS connection asked; what was not answered has no code.
func TestDNSFlow(t *testing.T) {
	k := conn(t, "17 10.244.1.5:40000>10.96.0.7:53 => 10.244.2.5:5353>10.244.1.5:40000")
	waits := conn(t, "17 10.244.1.5:40001>10.96.0.7:53")
	d := seen{"10.244.1.5", "203.0.113.9", "x", 0, map[flow.Tuple]dns.Flow{
		k.Orig: {Query: "no.example", Rcode: 3, TimeUs: 0, Answered: true}, waits.Orig: {Query: "slow.example"},
	}}
	e := New(Config{Node: "n1", DNS: d}, world().Index())
	fill := func(c *track.Conn) (r flow.Record) {
		e.Fill(9500, &track.Export{Conn: c, StartMs: 5000, EndMs: 9000}, &r)
		return r
	}
	if r := fill(k); r.DNSQuery != "no.example" || r.Text(flow.FDNSRcode) != "nxdomain" || !r.Has.Has(flow.FDNSTime) || r.DNSTime != 0 {
		t.Errorf("%s", dump(&r))
	}
	if r := fill(waits); r.DNSQuery != "slow.example" || r.Has.Has(flow.FDNSRcode) || r.Has.Has(flow.FDNSTime) {
		t.Errorf("%s", dump(&r))
	}
	if r := fill(conn(t, "17 10.244.1.5:40002>10.96.0.7:53")); r.Has.Has(flow.FDNSQuery) {
		t.Errorf("%s", dump(&r))
	}
}
