// Package packet reads the headers of IP packets: who, to whom, by which protocol
// and ports.
//
// Idea: packets come from whoever sends them, so nothing is believed: every length
// is checked against the bytes that are there, the walk over IPv6's extension
// headers is bounded, and what is cut short says so in place of being guessed.
//
// In: bytes that begin at the IP header (a cooked packet socket, NFLOG's payload,
// the quotation in an ICMP error). Out: Header, an ICMP error's parts. It copies
// nothing, keeps nothing and does no I/O.
package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
)

// ErrMalformed is what bytes give that are no whole IP header, or whose lengths do
// not fit.
var ErrMalformed = errors.New("malformed IP packet")

// Protocol numbers (IANA).
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

const (
	v4Len         = 20
	v6Len         = 40
	maxExtensions = 8 // extension headers that are walked; real packets have at most two or three

	extHopByHop = 0 // RFC 8200 section 4
	extRouting  = 43
	extFragment = 44
	extAuth     = 51 // RFC 4302
	extDestOpts = 60
)

// Header is what the headers of one packet say.
type Header struct {
	// Tuple has no ports where the packet has none: other protocols, a fragment
	// that is not the first, a transport header that is cut. For ICMP it is as in
	// conntrack: SrcPort is the identifier of echoes and DstPort is type<<8|code.
	Tuple flow.Tuple
	// Transport is what follows the IP header, as much as was captured of it.
	Transport []byte
	Length    int  // of the whole packet, in bytes, as its IP header says
	Cut       bool // fewer bytes are here than that
	Fragment  bool // not the first fragment: Transport begins inside the datagram
	More      bool // the first fragment of several
	Ports     bool // Tuple has ports (TCP, UDP) or type, code and identifier (ICMP)
}

// Parse reads the headers at the beginning of b.
func Parse(b []byte) (Header, error) {
	var h Header
	var err error
	if len(b) == 0 {
		return h, ErrMalformed
	}
	switch b[0] >> 4 {
	case 4:
		err = h.v4(b)
	case 6:
		err = h.v6(b)
	default:
		err = ErrMalformed
	}
	h.Cut = h.Length > len(b)
	if err == nil && !h.Fragment {
		h.ports()
	}
	return h, err
}

// v4 reads RFC 791 section 3.1.
func (h *Header) v4(b []byte) error {
	if len(b) < v4Len {
		return ErrMalformed
	}
	size := int(b[0]&0xf) * 4
	h.Length = int(binary.BigEndian.Uint16(b[2:]))
	if size < v4Len || size > len(b) || h.Length < size {
		return ErrMalformed
	}
	frag := binary.BigEndian.Uint16(b[6:])
	h.Fragment, h.More = frag&0x1fff != 0, frag&0x3fff == 0x2000
	h.Tuple.Proto = b[9]
	h.Tuple.Src = netip.AddrFrom4([4]byte(b[12:16])).As16()
	h.Tuple.Dst = netip.AddrFrom4([4]byte(b[16:20])).As16()
	h.Transport = b[size:min(len(b), h.Length)]
	return nil
}

// v6 reads RFC 8200 section 3 and walks the extension headers.
func (h *Header) v6(b []byte) error {
	if len(b) < v6Len {
		return ErrMalformed
	}
	h.Length = v6Len + int(binary.BigEndian.Uint16(b[4:]))
	h.Tuple.Src, h.Tuple.Dst = [16]byte(b[8:24]), [16]byte(b[24:40])
	next, rest := b[6], b[v6Len:min(len(b), h.Length)]
	for range maxExtensions {
		size := 0
		switch next {
		case extHopByHop, extRouting, extDestOpts:
			if len(rest) < 8 {
				return ErrMalformed
			}
			size = (int(rest[1]) + 1) * 8
		case extAuth:
			if len(rest) < 8 {
				return ErrMalformed
			}
			size = (int(rest[1]) + 2) * 4
		case extFragment:
			if len(rest) < 8 {
				return ErrMalformed
			}
			size = 8
			frag := binary.BigEndian.Uint16(rest[2:])
			h.Fragment, h.More = frag&0xfff8 != 0, frag&0xfff9 == 1
		default:
			h.Tuple.Proto, h.Transport = next, rest
			return nil
		}
		if size > len(rest) {
			return ErrMalformed
		}
		next, rest = rest[0], rest[size:]
		if h.Fragment { // what follows is data, whatever it looks like
			h.Tuple.Proto, h.Transport = next, rest
			return nil
		}
	}
	return ErrMalformed
}

// ports fills in what the transport header says, if it is there.
func (h *Header) ports() {
	t := h.Transport
	switch h.Tuple.Proto {
	case TCP, UDP:
		if h.Ports = len(t) >= 4; h.Ports {
			h.Tuple.SrcPort, h.Tuple.DstPort = binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:])
		}
	case ICMP, ICMPv6:
		if h.Ports = len(t) >= 8; h.Ports {
			h.Tuple.DstPort = binary.BigEndian.Uint16(t)
			if echo(h.Tuple.Proto, t[0]) {
				h.Tuple.SrcPort = binary.BigEndian.Uint16(t[4:])
			}
		}
	}
}

// echo says whether a type has an identifier: echo and timestamp and their replies.
func echo(proto, typ uint8) bool {
	if proto == ICMPv6 {
		return typ == 128 || typ == 129
	}
	return typ == 0 || typ == 8 || typ == 13 || typ == 14
}

// Payload gives what a UDP datagram carries, as much as was captured, and whether
// that is all of it.
func (h *Header) Payload() (b []byte, whole bool) {
	t := h.Transport
	if h.Tuple.Proto != UDP || h.Fragment || len(t) < 8 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(t[4:]))
	if n < 8 || h.More || n > len(t) {
		return t[8:], false
	}
	return t[8:n], true
}

// Segment is a TCP segment (RFC 9293 section 3.1).
type Segment struct {
	Seq           uint32
	SYN, FIN, RST bool
	Data          []byte // as much as was captured
	Whole         bool   // Data is all of it
}

// Segment reads the TCP header.
func (h *Header) Segment() (Segment, bool) {
	t := h.Transport
	if h.Tuple.Proto != TCP || h.Fragment || len(t) < 20 {
		return Segment{}, false
	}
	size := int(t[12]>>4) * 4
	if size < 20 || size > len(t) {
		return Segment{}, false
	}
	return Segment{
		Seq: binary.BigEndian.Uint32(t[4:]), FIN: t[13]&1 != 0, SYN: t[13]&2 != 0, RST: t[13]&4 != 0,
		Data: t[size:], Whole: !h.Cut && !h.More,
	}, true
}
