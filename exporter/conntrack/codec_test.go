package conntrack

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

func nest(typ uint16, f func(b *builder)) []byte {
	in := &builder{}
	f(in)
	out := &builder{}
	out.attr(typ|nlaNested, in.b)
	return out.b
}

func tupleAttr(typ uint16, t *flow.Tuple) []byte {
	return nest(typ, func(b *builder) {
		b.b = append(b.b, nest(ctaTupleIP, func(b *builder) {
			if t.Is4() {
				b.attr(ctaIPv4Src, t.Src[12:])
				b.attr(ctaIPv4Dst, t.Dst[12:])
			} else {
				b.attr(ctaIPv6Src, t.Src[:])
				b.attr(ctaIPv6Dst, t.Dst[:])
			}
		})...)
		b.b = append(b.b, nest(ctaTupleProto, func(b *builder) {
			b.attr(ctaProtoNum, []byte{t.Proto})
			if t.Proto == 1 {
				b.u16(ctaProtoICMPID, t.SrcPort)
				b.attr(ctaProtoICMPType, []byte{byte(t.DstPort >> 8)})
				b.attr(ctaProtoICMPCode, []byte{byte(t.DstPort)})
			} else {
				b.u16(ctaProtoSrcPort, t.SrcPort)
				b.u16(ctaProtoDstPort, t.DstPort)
			}
		})...)
	})
}

// encodeConn makes the payload that decodeConn reads; the kernel's part in tests.
func encodeConn(c *track.Conn, narrow bool) []byte {
	counters := func(typ uint16, packets, bytes uint64) []byte {
		return nest(typ, func(b *builder) {
			if narrow {
				b.u32(ctaCounters32Packets, uint32(packets))
				b.u32(ctaCounters32Bytes, uint32(bytes))
				return
			}
			b.attr(ctaCountersPackets, be.AppendUint64(nil, packets))
			b.attr(ctaCountersBytes, be.AppendUint64(nil, bytes))
		})
	}
	b := &builder{b: make([]byte, nfHdrLen)}
	b.b = append(b.b, tupleAttr(ctaTupleOrig, &c.Orig)...)
	b.b = append(b.b, tupleAttr(ctaTupleReply, &c.Reply)...)
	b.u32(ctaStatus, c.Status)
	b.u32(ctaMark, c.Mark)
	b.u32(ctaID, c.ID)
	b.u16(ctaZone, c.Zone)
	b.attr(ctaLabels, c.Labels[:])
	if c.HasTimeout {
		b.u32(ctaTimeout, c.Timeout)
	}
	if c.HasCounters {
		b.b = append(b.b, counters(ctaCountersOrig, c.Counters.OrigPackets, c.Counters.OrigBytes)...)
		b.b = append(b.b, counters(ctaCountersReply, c.Counters.ReplyPackets, c.Counters.ReplyBytes)...)
	}
	if c.HasTCP {
		b.b = append(b.b, nest(ctaProtoInfo, func(b *builder) {
			b.b = append(b.b, nest(ctaProtoInfoTCP, func(b *builder) { b.attr(ctaProtoInfoTCPState, []byte{c.TCPState}) })...)
		})...)
	}
	b.b = append(b.b, nest(ctaTimestamp, func(b *builder) {
		b.attr(ctaTimestampStart, be.AppendUint64(nil, uint64(c.Start)))
		b.attr(ctaTimestampStop, be.AppendUint64(nil, uint64(c.Stop)))
	})...)
	b.attr(99, []byte("an attribute of a later kernel"))
	return b.b
}

func samples() []track.Conn {
	a := track.Conn{
		Zone: 65520, ID: 7, Status: 0x18e, Mark: 0xdeadbeef, Start: 1_700_000_000_000_000_001, Stop: 1_700_000_000_000_000_002,
		Timeout: 431999, TCPState: 3, HasCounters: true, HasTimeout: true, HasTCP: true,
		Labels:   [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Counters: track.Counters{OrigPackets: 1, OrigBytes: 2, ReplyPackets: 3, ReplyBytes: 4},
	}
	a.Orig = flow.Tuple{Src: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 1}, Dst: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 2}, SrcPort: 4000, DstPort: 80, Proto: 6}
	a.Reply = a.Orig.Reverse()
	b := a
	b.Orig = flow.Tuple{Src: [16]byte{0: 0xfd, 15: 1}, Dst: [16]byte{0: 0xfd, 15: 2}, SrcPort: 5, DstPort: 53, Proto: 17}
	b.Reply = b.Orig.Reverse()
	b.HasTCP, b.TCPState, b.HasTimeout, b.Timeout, b.HasCounters, b.Counters = false, 0, false, 0, false, track.Counters{}
	c := a
	c.Orig.Proto, c.Orig.SrcPort, c.Orig.DstPort = 1, 99, 8<<8|3
	c.Reply = c.Orig
	return []track.Conn{a, b, c}
}

func TestDecode(t *testing.T) {
	for _, narrow := range []bool{false, true} {
		for i, want := range samples() {
			var got track.Conn
			if err := decodeConn(encodeConn(&want, narrow), &got); err != nil {
				t.Fatal(i, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%d: %s", i, d)
			}
		}
	}
}

func TestDecodeCutShort(t *testing.T) {
	s := samples()
	whole := encodeConn(&s[0], false)
	bad := 0
	for n := range whole {
		var c track.Conn
		if decodeConn(whole[:n], &c) != nil {
			bad++
		}
	}
	if bad < len(whole)/2 {
		t.Errorf("only %d of %d cuts were noticed", bad, len(whole))
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	s := samples()
	b := encodeConn(&s[0], false)
	var c track.Conn
	if n := testing.AllocsPerRun(100, func() { _ = decodeConn(b, &c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range samples() {
		f.Add(encodeConn(&c, false))
		f.Add(encodeConn(&c, true))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again track.Conn
		if decodeConn(b, &c) != nil || c.Orig.Is4() != c.Reply.Is4() {
			return
		}
		_ = decodeConn(b, &again)
		if c != again {
			t.Error("the same bytes gave two connections")
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add(request(msgGet, nlmFDump, 2).finish(1))
	f.Fuzz(func(_ *testing.T, b []byte) {
		for len(b) > 0 {
			_, payload, rest, err := nextMessage(b)
			if err != nil {
				return
			}
			var c track.Conn
			_ = decodeConn(payload, &c)
			b = rest
		}
	})
}
