package icmp

import (
	"encoding/binary"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
)

// Reason is what an error says, the same for both families.
type Reason uint8

// The reasons (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3).
const (
	Other               Reason = iota // another code of the types below; see Type and Code
	NetUnreachable                    // no route
	HostUnreachable                   // no neighbour answers
	ProtocolUnreachable               // the host does not speak the protocol
	PortUnreachable                   // nobody listens
	FragmentationNeeded               // too big for the next link: MTU says how big it may be
	Prohibited                        // a policy on the way refused it
	TimeExceeded                      // the hop limit ran out on the way
	ReassemblyTimeout                 // a fragment is missing
)

// ReasonWords are the words of Reason.
var ReasonWords = [...]string{
	"other", "net_unreachable", "host_unreachable", "protocol_unreachable", "port_unreachable",
	"fragmentation_needed", "prohibited", "time_exceeded", "reassembly_timeout",
}

func (r Reason) String() string { return ReasonWords[r] }

// Error is one ICMP error.
type Error struct {
	TimeMs int64      // when it arrived, Unix ms
	From   netip.Addr // who says so: a router, the destination, this node
	To     netip.Addr // who sent the packet that failed
	Type   uint8      // of ICMP or ICMPv6, by the family of From
	Code   uint8
	Reason Reason
	MTU    uint32 // bytes; of the next link, with FragmentationNeeded; 0 where it does not say
	// Quoted is the packet that failed, in its own direction. It has no ports where
	// Fragment is set: a fragment that is not the first has none.
	Quoted   flow.Tuple
	Fragment bool
	Opening  bool // Quoted could open a connection: of TCP, a SYN
	// Own: a rule of this node, or its routes, made it. It has an address of the node and was
	// not seen to come in; what the destination itself says is not meant.
	Own bool
}

// Types of ICMP and ICMPv6 that are errors and quote a packet.
const (
	v4Unreachable  = 3
	v4TimeExceeded = 11
	v4Parameter    = 12

	v6Unreachable  = 1
	v6TooBig       = 2
	v6TimeExceeded = 3
	v6Parameter    = 4

	quoteAt = 8 // both families: type, code, checksum and four bytes by type
)

// Parse reads an ICMP error from an IP packet. ok is false for a packet that is
// whole and no ICMP error; err is packet.ErrMalformed. It allocates nothing.
func Parse(b []byte, e *Error) (ok bool, err error) {
	h, err := packet.Parse(b)
	if err != nil {
		return false, err
	}
	t := h.Transport
	v6 := h.Tuple.Proto == packet.ICMPv6
	if !v6 && h.Tuple.Proto != packet.ICMP || h.Fragment {
		return false, nil
	}
	if len(t) < quoteAt {
		return false, packet.ErrMalformed
	}
	if v6 && t[0] >= 128 || !v6 && t[0] != v4Unreachable && t[0] != v4TimeExceeded && t[0] != v4Parameter {
		return false, nil
	}
	quoted, err := packet.Parse(t[quoteAt:])
	if err != nil {
		return false, err
	}
	if !quoted.Fragment && !quoted.Ports && hasPorts(quoted.Tuple.Proto) {
		return false, packet.ErrMalformed // RFC 792: at least eight bytes of it
	}
	if quoted.Tuple.Src != h.Tuple.Dst {
		return false, packet.ErrMalformed // an error goes to the sender of what it quotes
	}
	*e = Error{
		From: h.Tuple.SrcAddr(), To: h.Tuple.DstAddr(), Type: t[0], Code: t[1],
		Quoted: quoted.Tuple, Fragment: quoted.Fragment, Opening: opens(&quoted),
	}
	if v6 {
		e.v6(t)
	} else {
		e.v4(t)
	}
	return true, nil
}

// opens tells whether a packet may be the first of its connection.
func opens(h *packet.Header) bool {
	const flagsAt, syn, ack = 13, 0x02, 0x10
	if h.Tuple.Proto != packet.TCP {
		return !h.Fragment
	}
	return !h.Fragment && len(h.Transport) > flagsAt && h.Transport[flagsAt]&(syn|ack) == syn
}

func hasPorts(proto uint8) bool {
	return proto == packet.TCP || proto == packet.UDP || proto == packet.ICMP || proto == packet.ICMPv6
}

func (e *Error) v4(t []byte) {
	switch e.Type {
	case v4TimeExceeded:
		e.Reason = TimeExceeded
		if e.Code == 1 {
			e.Reason = ReassemblyTimeout
		}
	case v4Unreachable:
		switch e.Code {
		case 0, 5, 6, 8, 11: // network: unreachable, source route, unknown, isolated, type of service
			e.Reason = NetUnreachable
		case 1, 7, 12:
			e.Reason = HostUnreachable
		case 2:
			e.Reason = ProtocolUnreachable
		case 3:
			e.Reason = PortUnreachable
		case 4: // RFC 1191 section 4: the next hop's MTU is in the last two bytes
			e.Reason, e.MTU = FragmentationNeeded, uint32(binary.BigEndian.Uint16(t[6:]))
		case 9, 10, 13, 14, 15:
			e.Reason = Prohibited
		}
	}
}

func (e *Error) v6(t []byte) {
	switch e.Type {
	case v6TooBig:
		e.Reason, e.MTU = FragmentationNeeded, binary.BigEndian.Uint32(t[4:])
	case v6TimeExceeded:
		e.Reason = TimeExceeded
		if e.Code == 1 {
			e.Reason = ReassemblyTimeout
		}
	case v6Parameter:
		if e.Code == 1 { // unrecognized next header
			e.Reason = ProtocolUnreachable
		}
	case v6Unreachable:
		switch e.Code {
		case 0:
			e.Reason = NetUnreachable
		case 3:
			e.Reason = HostUnreachable
		case 4:
			e.Reason = PortUnreachable
		case 1, 5, 6: // prohibited, source address failed policy, reject route
			e.Reason = Prohibited
		}
	}
}
