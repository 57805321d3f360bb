package sockets

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

func ear(addr string, port uint16, proto uint8) Listener {
	a := netip.MustParseAddr(addr)
	return Listener{Addr: flow.Addr16(a), Port: port, Proto: proto, V6: a.Is6()}
}

// TestWhoWaits asks, for each kind of bind address, at an IPv4 and an IPv6 address.
func TestWhoWaits(t *testing.T) {
	only6 := ear("::", 80, 6)
	only6.V6Only = true
	full := ear("0.0.0.0", 80, 6)
	full.Queue, full.Limit = 2, 1
	for name, c := range map[string]struct {
		list   []Listener
		v4, v6 flow.Listen
	}{
		"nobody":                   {nil, flow.ListenNone, flow.ListenNone},
		"other port and protocol":  {[]Listener{ear("::", 81, 6), ear("::", 80, 17)}, flow.ListenNone, flow.ListenNone},
		"all of IPv4":              {[]Listener{ear("0.0.0.0", 80, 6)}, flow.ListenOpen, flow.ListenOther},
		"all":                      {[]Listener{ear("::", 80, 6)}, flow.ListenOpen, flow.ListenOpen},
		"all of IPv6":              {[]Listener{only6}, flow.ListenOther, flow.ListenOpen},
		"the address":              {[]Listener{ear("10.0.0.1", 80, 6)}, flow.ListenOpen, flow.ListenOther},
		"another":                  {[]Listener{ear("127.0.0.1", 80, 6), ear("10.0.0.2", 80, 6)}, flow.ListenOther, flow.ListenOther},
		"loopback":                 {[]Listener{ear("127.0.0.1", 80, 6), ear("::1", 80, 6)}, flow.ListenLoopback, flow.ListenLoopback},
		"loopback and all":         {[]Listener{ear("127.0.0.1", 80, 6), ear("0.0.0.0", 80, 6)}, flow.ListenOpen, flow.ListenOther},
		"full":                     {[]Listener{full}, flow.ListenFull, flow.ListenOther},
		"one of two full":          {[]Listener{ear("0.0.0.0", 80, 6), full}, flow.ListenFull, flow.ListenOther},
		"full, but not the nearer": {[]Listener{full, ear("10.0.0.1", 80, 6)}, flow.ListenOpen, flow.ListenOther},
	} {
		h := &heard{list: c.list}
		for addr, want := range map[string]flow.Listen{"10.0.0.1": c.v4, "fd00::1": c.v6} {
			a := flow.Addr16(netip.MustParseAddr(addr))
			if got, _ := h.at(&a, 6, 80); got != want {
				t.Errorf("%s at %s: %s, want %s", name, addr, flow.ListenWords[got], flow.ListenWords[want])
			}
		}
	}
}

// TestFillListen: what is asked for which connection, and when a look is too old.
func TestFillListen(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Interval = time.Second
	w := New(cfg, slog.New(slog.DiscardHandler))
	server := netip.MustParseAddr("10.0.0.1")
	list := []Listener{
		ear("0.0.0.0", 9090, 6), ear("::", 8080, 6), ear("0.0.0.0", 8080, 6), ear("127.0.0.1", 6060, 6),
		ear("10.0.0.2", 7070, 6), ear("0.0.0.0", 443, 17), ear("0.0.0.0", 51234, 17),
	}
	w.table.walked(0, 100_000, 1, [][16]byte{flow.Addr16(server)}, list)
	three := [][16]byte{flow.Addr16(netip.MustParseAddr("10.0.0.3"))}
	w.table.walked(0, 99_000, 3, three, list[:0:0])
	w.table.walked(0, 99_200, 3, three, []Listener{ear("0.0.0.0", 80, 6)})
	w.table.walked(0, 100_000, 3, three, nil)
	fill := func(addr string, port uint16, proto uint8, o flow.Outcome, endMs int64) *flow.Record {
		client := netip.MustParseAddrPort("10.0.0.9:4000")
		dialled := netip.MustParseAddrPort("10.96.0.1:80")
		x := &track.Export{Outcome: o, EndMs: endMs, Conn: &track.Conn{
			Orig: tuple(client, dialled, proto), Reply: tuple(netip.AddrPortFrom(netip.MustParseAddr(addr), port), client, proto),
		}}
		r := new(flow.Record)
		w.Fill(x, r)
		return r
	}
	for name, c := range map[string]struct {
		got  *flow.Record
		want string
	}{
		"other ports":           {fill("10.0.0.1", 8443, 6, flow.OutcomeRefused, 100_500), "none 8080, 9090"},
		"same port of UDP":      {fill("10.0.0.1", 443, 6, flow.OutcomeRefused, 100_500), "none 8080, 9090, 443/udp"},
		"UDP":                   {fill("10.0.0.1", 53, 17, flow.OutcomeUnanswered, 100_500), "none 443"},
		"loopback":              {fill("10.0.0.1", 6060, 6, flow.OutcomeRefused, 100_500), "loopback 8080, 9090"},
		"another address":       {fill("10.0.0.1", 7070, 6, flow.OutcomeRefused, 100_500), "other_address 8080, 9090"},
		"somebody":              {fill("10.0.0.1", 8080, 6, flow.OutcomeReset, 100_500), "open "},
		"not proven yet":        {fill("10.0.0.1", 8443, 6, flow.OutcomeUnknown, 100_500), "none 8080, 9090"},
		"went well":             {fill("10.0.0.1", 8443, 6, flow.OutcomeOK, 100_500), ""},
		"UDP not proven yet":    {fill("10.0.0.1", 53, 17, flow.OutcomeUnknown, 100_500), ""},
		"an address not read":   {fill("10.0.0.2", 8443, 6, flow.OutcomeRefused, 100_500), ""},
		"no protocol for ports": {fill("10.0.0.1", 0, 1, flow.OutcomeUnanswered, 100_500), ""},
		"stopped between looks": {fill("10.0.0.3", 80, 6, flow.OutcomeReset, 99_500), ""},
		"never, at both looks":  {fill("10.0.0.3", 81, 6, flow.OutcomeRefused, 99_500), "none 80"},
		"look just after":       {fill("10.0.0.1", 8443, 6, flow.OutcomeUnanswered, 98_000), "none 8080, 9090"},
		"look long after":       {fill("10.0.0.1", 8443, 6, flow.OutcomeUnanswered, 60_000), ""},
		"look long before":      {fill("10.0.0.1", 8443, 6, flow.OutcomeRefused, 111_000), ""},
	} {
		got := ""
		if c.got.Has.Has(flow.FDstListen) {
			got = c.got.Text(flow.FDstListen) + " " + c.got.DstListens
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestWhatWasThen: a record that is made late tells what was when its connection
// failed, and the memory of that is bounded.
func TestWhatWasThen(t *testing.T) {
	tab := NewTable(8, 60_000)
	addr := flow.Addr16(netip.MustParseAddr("10.0.0.1"))
	look := func(atMs int64, list ...Listener) { tab.walked(0, atMs, 7, [][16]byte{addr}, list) }
	port := func(p uint16) Listener { return ear("0.0.0.0", p, 6) }
	client := func(p uint16) Listener { return ear("0.0.0.0", p, 17) }
	ports := func(ms int64) (list []uint16) {
		h, _ := tab.heard(&addr, ms)
		for _, l := range h.list {
			list = append(list, l.Port)
		}
		return list
	}
	look(10_000, port(80))
	look(20_000, port(80), client(40000)) // a client's socket is no change
	look(30_000, client(40001), port(80))
	look(40_000)
	look(50_000, port(81))
	for ms, want := range map[int64][]uint16{
		1: {40001, 80}, 39_000: {40001, 80}, 40_000: nil, 49_000: nil, 50_000: {81}, 99_000: {81}, 0: {81},
	} {
		if d := cmp.Diff(want, ports(ms)); d != "" {
			t.Errorf("at %d ms: %s", ms, d)
		}
	}
	for ms, between := range map[int64]bool{10_000: false, 30_000: false, 30_001: true, 39_000: true, 40_000: false, 45_000: true, 50_000: false, 60_000: false} {
		if _, next := tab.heard(&addr, ms); (next != nil) != between {
			t.Errorf("at %d ms: between two looks %t, want %t", ms, next != nil, between)
		}
	}
	full := port(81)
	for i := range int64(50) {
		full.Queue = uint32(i % 2)
		look(51_000+i, full)
	}
	n := 0
	for h, _ := tab.heard(&addr, 0); h != nil; h = h.older {
		n++
	}
	if n != maxHeard {
		t.Errorf("%d changes are remembered, want %d", n, maxHeard)
	}
	look(200_000, port(82))
	if h, _ := tab.heard(&addr, 0); h.older != nil {
		t.Error("what was long ago is remembered")
	}
	tab.walked(0, 201_000, 8, [][16]byte{addr}, nil)
	if h, _ := tab.heard(&addr, 1); h.namespace != 8 {
		t.Error("another namespace has the address, and its predecessor's ports are told")
	}
}
