package icmp

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
)

// v4 and v6 are a port unreachable each, as the kernel made them.
const (
	v4 = "45c0003900000000400166210a0200020a010002" + "0303000000000000" +
		"4500001d00004000401126e70a0100020a020002" + "c350000700090000" + "00"
	v6 = "600000000039" + "3a40" + "fd020000000000000000000000000002fd010000000000000000000000000002" + "0104000000000000" +
		"600000000009" + "1140" + "fd010000000000000000000000000002fd020000000000000000000000000002" + "c350000700090000" + "00"
)

func b(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		reason   Reason
		mtu      uint32
		ok       bool
		err      error
	}{
		{name: "v4 port", in: v4, reason: PortUnreachable, ok: true},
		{name: "v6 port", in: v6, reason: PortUnreachable, ok: true},
		{name: "v4 too big", in: strings.Replace(v4, "0303000000000000", "0304000000000514", 1), reason: FragmentationNeeded, mtu: 1300, ok: true},
		{name: "v6 too big", in: strings.Replace(v6, "0104000000000000", "0200000000000514", 1), reason: FragmentationNeeded, mtu: 1300, ok: true},
		{name: "v4 administratively", in: strings.Replace(v4, "0303", "030d", 1), reason: Prohibited, ok: true},
		{name: "v6 policy", in: strings.Replace(v6, "01040000", "01050000", 1), reason: Prohibited, ok: true},
		{name: "v4 hops", in: strings.Replace(v4, "0303", "0b00", 1), reason: TimeExceeded, ok: true},
		{name: "v4 reassembly", in: strings.Replace(v4, "0303", "0b01", 1), reason: ReassemblyTimeout, ok: true},
		{name: "a code of the future", in: strings.Replace(v4, "0303", "03ff", 1), reason: Other, ok: true},
		{name: "echo", in: strings.Replace(v4, "0303", "0800", 1)},
		{name: "redirect", in: strings.Replace(v4, "0303", "0501", 1)},
		{name: "cut in the quotation", in: v4[:len(v4)-12], err: packet.ErrMalformed},
		{name: "no quotation", in: v4[:56], err: packet.ErrMalformed},
		{name: "quotes another's packet", in: strings.Replace(v4, "26e70a010002", "26e70a010003", 1), err: packet.ErrMalformed},
		{name: "quotes another family", in: v4[:56] + v6[96:], err: packet.ErrMalformed},
		{name: "empty", in: "", err: packet.ErrMalformed},
	} {
		var e Error
		ok, err := Parse(b(t, c.in), &e)
		if ok != c.ok || !errors.Is(err, c.err) || ok && (e.Reason != c.reason || e.MTU != c.mtu || e.Quoted.SrcPort != 50000 || e.Quoted.DstPort != 7) {
			t.Errorf("%s: %v, %v, %+v", c.name, ok, err, e)
		}
	}
	var e Error
	in := b(t, v6)
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse(in, &e) }); n != 0 {
		t.Errorf("%v allocations an error, want 0", n)
	}
}

func TestRecent(t *testing.T) {
	r := newRecent()
	e := Error{TimeMs: 1000, From: netip.MustParseAddr("10.0.0.1")}
	for _, c := range []struct {
		at   int64
		code uint8
		want bool
	}{{1000, 1, false}, {1000, 1, true}, {1001, 2, false}, {1050, 1, true}, {1100, 1, false}, {1150, 1, true}} {
		e.TimeMs, e.Code = c.at, c.code
		if got := r.again(&e); got != c.want {
			t.Errorf("at %d code %d: %v", c.at, c.code, got)
		}
	}
}

func TestStatus(t *testing.T) {
	if e := Status(false, nil); e.On || e.Remedy == "" {
		t.Errorf("%+v", e)
	}
	if e := Status(true, errors.New("no right")); e.On || e.Why != "no right" || e.Remedy == "" {
		t.Errorf("%+v", e)
	}
	if e := Status(true, nil); !e.On {
		t.Errorf("%+v", e)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(b(f, v4))
	f.Add(b(f, v6))
	f.Fuzz(func(t *testing.T, in []byte) {
		var e Error
		ok, err := Parse(in, &e)
		if ok && (err != nil || !e.From.IsValid() || e.Quoted.SrcAddr() != e.To) {
			t.Errorf("%v, %+v", err, e)
		}
	})
}

func BenchmarkParse(bb *testing.B) {
	for _, c := range []struct{ name, in string }{{"v4", v4}, {"v6", v6}} {
		in := b(bb, c.in)
		bb.Run(c.name, func(bb *testing.B) {
			bb.ReportAllocs()
			var e Error
			for bb.Loop() {
				if ok, err := Parse(in, &e); !ok || err != nil {
					bb.Fatal(err)
				}
			}
		})
	}
}

// TestOpening: of what an error quotes, a SYN opens a connection, as does any datagram; a
// quote that ends before the flags does not say.
func TestOpening(t *testing.T) {
	segment := make([]byte, 20)
	for _, c := range []struct {
		name  string
		h     packet.Header
		flags byte
		size  int
		want  bool
	}{
		{"SYN", packet.Header{Tuple: flow.Tuple{Proto: packet.TCP}}, 0x02, 20, true},
		{"SYN with ECN", packet.Header{Tuple: flow.Tuple{Proto: packet.TCP}}, 0xc2, 20, true},
		{"SYN, ACK", packet.Header{Tuple: flow.Tuple{Proto: packet.TCP}}, 0x12, 20, false},
		{"ACK", packet.Header{Tuple: flow.Tuple{Proto: packet.TCP}}, 0x10, 20, false},
		{"a short quote", packet.Header{Tuple: flow.Tuple{Proto: packet.TCP}}, 0x02, 8, false},
		{"a datagram", packet.Header{Tuple: flow.Tuple{Proto: packet.UDP}}, 0, 8, true},
		{"a fragment", packet.Header{Tuple: flow.Tuple{Proto: packet.UDP}, Fragment: true}, 0, 8, false},
	} {
		segment[13] = c.flags
		c.h.Transport = segment[:c.size]
		if got := opens(&c.h); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
