package flow

import "net/netip"

// Tuple is a comparable, pointer-free 5-tuple. Addresses are 16 bytes, IPv4 in
// its IPv4-mapped form (RFC 4291 section 2.5.5.2). Ports are in host order; for
// ICMP, SrcPort is the identifier and DstPort is type<<8|code.
type Tuple struct {
	Src, Dst         [16]byte
	SrcPort, DstPort uint16
	Proto            uint8
	_                [3]byte
}

// Key identifies one connection on one observer: a Tuple and its conntrack zone.
type Key struct {
	Tuple
	Zone uint16
	_    [2]byte
}

// Addr16 gives the 16-byte form of an address; the zero Addr gives ::.
func Addr16(a netip.Addr) [16]byte {
	if !a.IsValid() {
		return [16]byte{}
	}
	return a.As16()
}

// SrcAddr gives the source as an address, IPv4 unmapped.
func (t *Tuple) SrcAddr() netip.Addr { return netip.AddrFrom16(t.Src).Unmap() }

// DstAddr gives the destination as an address, IPv4 unmapped.
func (t *Tuple) DstAddr() netip.Addr { return netip.AddrFrom16(t.Dst).Unmap() }

// Reverse swaps the two ends.
func (t Tuple) Reverse() Tuple {
	t.Src, t.Dst, t.SrcPort, t.DstPort = t.Dst, t.Src, t.DstPort, t.SrcPort
	return t
}

// Is4 reports whether the source is an IPv4 address.
func (t *Tuple) Is4() bool { return netip.AddrFrom16(t.Src).Is4In6() }
