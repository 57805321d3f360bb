package sockets

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

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
		"look after the end":    {fill("10.0.0.1", 8443, 6, flow.OutcomeUnanswered, 60_000), "none 8080, 9090"},
		"look long before":      {fill("10.0.0.1", 8443, 6, flow.OutcomeRefused, 104_000), ""},
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
