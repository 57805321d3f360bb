package sockets

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirnet/weir/api/flow"
)

// message makes the payload of a SOCK_DIAG_BY_FAMILY message by hand.
func message(local, remote netip.AddrPort, state State, cookie uint64, attrs ...[]byte) []byte {
	b := make([]byte, msgLen)
	b[0], b[1] = afInet, byte(state)
	if local.Addr().Is6() {
		b[0] = afInet6
	}
	be.PutUint16(b[4:], local.Port())
	be.PutUint16(b[6:], remote.Port())
	copy(b[8:], local.Addr().AsSlice())
	copy(b[24:], remote.Addr().AsSlice())
	ne.PutUint32(b[44:], uint32(cookie))
	ne.PutUint32(b[48:], uint32(cookie>>32))
	ne.PutUint32(b[56:], 3)
	ne.PutUint32(b[60:], 128)
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

func attr(typ uint16, v []byte) []byte {
	b := ne.AppendUint16(ne.AppendUint16(nil, uint16(nlaHdrLen+len(v))), typ)
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func tcpInfo(n int) []byte {
	b := make([]byte, n)
	b[offRetransmits], b[offAppLimited] = 2, 1
	if bigEndian {
		b[offAppLimited] = 0x80
	}
	ne.PutUint32(b[offPMTU:], 1450)
	ne.PutUint32(b[offRTT:], 20_100)
	ne.PutUint32(b[offTotal:], 7)
	if n >= offSndbuf+8 {
		ne.PutUint32(b[offMinRTT:], 19_900)
		ne.PutUint64(b[offBusy:], 1_000_000)
		ne.PutUint64(b[offRwnd:], 400_000)
		ne.PutUint64(b[offSndbuf:], 100_000)
	}
	return b
}

func memInfo(drops uint32) []byte {
	b := make([]byte, 36)
	ne.PutUint32(b[32:], drops)
	return b
}

var (
	local4  = netip.MustParseAddrPort("10.1.0.4:40000")
	remote4 = netip.MustParseAddrPort("10.2.0.9:8443")
	local6  = netip.MustParseAddrPort("[fd00::4]:40000")
	remote6 = netip.MustParseAddrPort("[fd01::9]:8443")
)

func tuple(l, r netip.AddrPort, proto uint8) flow.Tuple {
	return flow.Tuple{Src: flow.Addr16(l.Addr()), Dst: flow.Addr16(r.Addr()), SrcPort: l.Port(), DstPort: r.Port(), Proto: proto}
}

func TestDecode(t *testing.T) {
	whole := Info{RTT: 20_100, RTTMin: 19_900, Retrans: 7, Unanswered: 2, PathMTU: 1450, AppLimited: true, Busy: 1_000_000, Rwnd: 400_000, Sndbuf: 100_000, HasBusy: true}
	old := Info{RTT: 20_100, Retrans: 7, Unanswered: 2, PathMTU: 1450}
	for name, c := range map[string]struct {
		in    []byte
		proto uint8
		want  Socket
	}{
		"v4": {
			message(local4, remote4, Established, 1<<40|5, attr(diagInfo, tcpInfo(280))), protoTCP,
			Socket{Tuple: tuple(local4, remote4, protoTCP), State: Established, Cookie: 1<<40 | 5, Queue: 3, Limit: 128, HasInfo: true, Info: whole},
		},
		"v6": {
			message(local6, remote6, SynSent, 9, attr(diagInfo, tcpInfo(232))), protoTCP,
			Socket{Tuple: tuple(local6, remote6, protoTCP), State: SynSent, Cookie: 9, Queue: 3, Limit: 128, HasInfo: true, Info: whole, V6: true},
		},
		"listener of IPv6 alone": {
			message(local6, netip.AddrPortFrom(netip.IPv6Unspecified(), 0), Listen, 9, attr(diagSkV6Only, []byte{1})), protoTCP,
			Socket{Tuple: tuple(local6, netip.AddrPortFrom(netip.IPv6Unspecified(), 0), protoTCP), State: Listen, Cookie: 9, Queue: 3, Limit: 128, V6: true, V6Only: true},
		},
		"tcp_info of an old kernel, and an attribute that nobody knows": {
			message(local4, remote4, Established, 5, attr(99, []byte{1, 2, 3}), attr(diagInfo, tcpInfo(104))), protoTCP,
			Socket{Tuple: tuple(local4, remote4, protoTCP), State: Established, Cookie: 5, Queue: 3, Limit: 128, HasInfo: true, Info: old},
		},
		"listener with drops": {
			message(local4, netip.AddrPortFrom(netip.IPv4Unspecified(), 0), Listen, 5, attr(diagSkMemInfo, memInfo(11))), protoTCP,
			Socket{Tuple: tuple(local4, netip.AddrPortFrom(netip.IPv4Unspecified(), 0), protoTCP), State: Listen, Cookie: 5, Queue: 3, Limit: 128, Drops: 11, HasDrops: true},
		},
		"IPv4 in an AF_INET6 socket": {
			message(netip.AddrPortFrom(netip.AddrFrom16(local4.Addr().As16()), 1), netip.AddrPortFrom(netip.AddrFrom16(remote4.Addr().As16()), 2), Established, 1), protoTCP,
			Socket{
				Tuple: tuple(netip.AddrPortFrom(local4.Addr(), 1), netip.AddrPortFrom(remote4.Addr(), 2), protoTCP), State: Established, Cookie: 1, Queue: 3, Limit: 128,
				V6: true,
			},
		},
	} {
		var s Socket
		if err := decodeSocket(c.in, c.proto, &s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, s, cmp.Comparer(func(a, b flow.Tuple) bool { return a == b })); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := message(local4, remote4, Established, 1, attr(diagInfo, tcpInfo(232)))
	for name, b := range map[string][]byte{
		"empty":          nil,
		"cut header":     good[:msgLen-1],
		"cut attribute":  good[:len(good)-1],
		"half attribute": good[:msgLen+2],
		"short tcp_info": message(local4, remote4, Established, 1, attr(diagInfo, make([]byte, 100))),
		"odd meminfo":    message(local4, remote4, Listen, 1, attr(diagSkMemInfo, make([]byte, 35))),
	} {
		var s Socket
		if err := decodeSocket(b, protoTCP, &s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestNoRoundTripYet(t *testing.T) {
	info := tcpInfo(232)
	ne.PutUint32(info[offMinRTT:], 1<<32-1)
	var i Info
	if !decodeInfo(info, &i) || i.RTTMin != 0 {
		t.Errorf("a minimum that was never measured is %d us, want 0", i.RTTMin)
	}
}

func TestDecodeAddress(t *testing.T) {
	head := func(family byte) []byte { return append([]byte{family}, make([]byte, ifAddrMsgLen-1)...) }
	peer, own := []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}
	for name, b := range map[string][]byte{
		"address, then local": append(append(head(afInet), attr(ifaAddress, peer)...), attr(ifaLocal, own)...),
		"local, then address": append(append(head(afInet), attr(ifaLocal, own)...), attr(ifaAddress, peer)...),
	} {
		if a, ok := decodeAddress(b); !ok || a != flow.Addr16(netip.MustParseAddr("10.0.0.2")) {
			t.Errorf("%s: got %v %v", name, netip.AddrFrom16(a), ok)
		}
	}
	if _, ok := decodeAddress(append(head(afInet6), attr(ifaAddress, own)...)); ok {
		t.Error("four bytes were taken for an IPv6 address")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(message(local4, remote4, Established, 1, attr(diagInfo, tcpInfo(232))), uint8(protoTCP))
	f.Add(message(local6, remote6, Listen, 1, attr(diagSkMemInfo, memInfo(1))), uint8(protoTCP))
	f.Add(message(local6, remote6, Closed, 1, attr(diagSkMemInfo, memInfo(1))), uint8(protoUDP))
	f.Fuzz(func(t *testing.T, b []byte, proto uint8) {
		var s, again Socket
		if decodeSocket(b, proto, &s) != nil {
			return
		}
		_ = decodeSocket(b, proto, &again)
		if s != again {
			t.Error("the same bytes gave two sockets")
		}
		if s.HasInfo && proto != protoTCP {
			t.Error("tcp_info of a protocol that is not TCP")
		}
	})
}

func FuzzMessages(f *testing.F) {
	q := walkQueries()[3]
	f.Add(q.encode())
	f.Add(addressRequest())
	f.Fuzz(func(_ *testing.T, b []byte) {
		for len(b) > 0 {
			_, payload, rest, err := nextMessage(b)
			if err != nil {
				return
			}
			var s Socket
			_ = decodeSocket(payload, protoTCP, &s)
			_, _ = decodeAddress(payload)
			b = rest
		}
	})
}

func TestEvidence(t *testing.T) {
	for want, s := range map[string]Status{
		"off, switched off: no round trip times, no retransmits, no attempts, no listeners": {},
		"off, the first walk is not over":                    {Enabled: true},
		"off, no network namespace was found":                {Enabled: true, Walks: 1},
		"off, enter it: operation not permitted":             {Enabled: true, Walks: 1, Unreadable: 2, Err: "enter it: operation not permitted"},
		"on, 3 network namespaces are read":                  {Enabled: true, Walks: 1, Namespaces: 3},
		"on, 3 network namespaces are read, 1 are not: gone": {Enabled: true, Walks: 1, Namespaces: 3, Unreadable: 1, Err: "gone"},
	} {
		e := s.Evidence()
		got := map[bool]string{true: "on, ", false: "off, "}[e.On] + e.Why
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !e.On && e.Remedy == "" && s.Walks > 0 {
			t.Errorf("%s: without a remedy", want)
		}
	}
}
