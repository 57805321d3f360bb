package conntrack

import (
	"github.com/weirnet/weir/exporter/track"
)

// Attributes of a conntrack message (enum ctattr_type and its nested enums in
// include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleOrig     = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoInfo     = 4
	ctaTimeout       = 7
	ctaMark          = 8
	ctaCountersOrig  = 9
	ctaCountersReply = 10
	ctaID            = 12
	ctaZone          = 18
	ctaTimestamp     = 20
	ctaMarkMask      = 21
	ctaLabels        = 22
	ctaFilter        = 25 // since 5.8

	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
	// CTA_FILTER_FLAG(CTA_IP_SRC, CTA_IP_DST, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT,
	// CTA_PROTO_DST_PORT) of net/netfilter/nf_conntrack_netlink.c; bit 2 is the zone's.
	filterTuple = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaTupleZone  = 3

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum        = 1
	ctaProtoSrcPort    = 2
	ctaProtoDstPort    = 3
	ctaProtoICMPID     = 4
	ctaProtoICMPType   = 5
	ctaProtoICMPCode   = 6
	ctaProtoICMPv6ID   = 7
	ctaProtoICMPv6Type = 8
	ctaProtoICMPv6Code = 9

	ctaProtoInfoTCP      = 1
	ctaProtoInfoTCPState = 1

	ctaCountersPackets   = 1
	ctaCountersBytes     = 2
	ctaCounters32Packets = 3
	ctaCounters32Bytes   = 4

	ctaTimestampStart = 1
	ctaTimestampStop  = 2
)

// decodeConn fills c from the payload of a conntrack message, nfgenmsg included.
// It allocates nothing and keeps nothing of b. Unknown attributes are skipped;
// an attribute whose length is wrong makes the message malformed.
func decodeConn(b []byte, c *track.Conn) error {
	*c = track.Conn{}
	if len(b) < nfHdrLen {
		return ErrMalformed
	}
	zone, tuples := false, 0
	for b = b[nfHdrLen:]; len(b) >= nlaHdrLen; {
		var typ uint16
		var v []byte
		var ok bool
		if typ, v, b, ok = nextAttr(b); !ok {
			return ErrMalformed
		}
		switch typ {
		case ctaTupleOrig:
			ok = decodeTuple(v, c, false, zone)
			tuples++
		case ctaTupleReply:
			ok = decodeTuple(v, c, true, zone)
			tuples++
		case ctaStatus:
			ok = u32(v, &c.Status)
		case ctaProtoInfo:
			ok = decodeProtoInfo(v, c)
		case ctaTimeout:
			ok = u32(v, &c.Timeout)
			c.HasTimeout = ok
		case ctaMark:
			ok = u32(v, &c.Mark)
		case ctaCountersOrig:
			ok = decodeCounters(v, &c.Counters.OrigPackets, &c.Counters.OrigBytes)
			c.HasCounters = ok
		case ctaCountersReply:
			ok = decodeCounters(v, &c.Counters.ReplyPackets, &c.Counters.ReplyBytes)
			c.HasCounters = ok
		case ctaID:
			ok = u32(v, &c.ID)
		case ctaZone:
			zone = u16(v, &c.Zone)
			ok = zone
		case ctaTimestamp:
			ok = decodeTimestamp(v, c)
		case ctaLabels:
			if ok = len(v) <= len(c.Labels); ok {
				copy(c.Labels[:], v)
			}
		}
		if !ok {
			return ErrMalformed
		}
	}
	if tuples != 2 || len(b) != 0 {
		return ErrMalformed
	}
	return nil
}

func u16(v []byte, p *uint16) bool {
	if len(v) != 2 {
		return false
	}
	*p = be.Uint16(v)
	return true
}

func u32(v []byte, p *uint32) bool {
	if len(v) != 4 {
		return false
	}
	*p = be.Uint32(v)
	return true
}

// decodeTuple reads one direction. The zone of the original direction stands in
// the tuple where the entry has it in one direction only.
func decodeTuple(b []byte, c *track.Conn, reply, zone bool) bool {
	t := &c.Orig
	if reply {
		t = &c.Reply
	}
	for len(b) != 0 {
		typ, v, rest, ok := nextAttr(b)
		if !ok {
			return false
		}
		b = rest
		switch typ {
		case ctaTupleIP:
			for len(v) != 0 {
				var a []byte
				if typ, a, v, ok = nextAttr(v); !ok {
					return false
				}
				switch typ {
				case ctaIPv4Src:
					ok = addr4(a, &t.Src)
				case ctaIPv4Dst:
					ok = addr4(a, &t.Dst)
				case ctaIPv6Src:
					ok = len(a) == 16 && copy(t.Src[:], a) == 16
				case ctaIPv6Dst:
					ok = len(a) == 16 && copy(t.Dst[:], a) == 16
				}
				if !ok {
					return false
				}
			}
		case ctaTupleProto:
			ok = decodeProto(v, &t.Proto, &t.SrcPort, &t.DstPort)
		case ctaTupleZone:
			if !reply && !zone {
				ok = u16(v, &c.Zone)
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

func addr4(v []byte, p *[16]byte) bool {
	if len(v) != 4 {
		return false
	}
	p[10], p[11], p[12], p[13], p[14], p[15] = 0xff, 0xff, v[0], v[1], v[2], v[3]
	return true
}

// decodeProto reads protocol and ports; for ICMP the source port is the
// identifier and the destination port type<<8|code.
func decodeProto(b []byte, proto *uint8, src, dst *uint16) bool {
	for len(b) != 0 {
		typ, v, rest, ok := nextAttr(b)
		if !ok {
			return false
		}
		b = rest
		switch typ {
		case ctaProtoNum, ctaProtoICMPType, ctaProtoICMPv6Type, ctaProtoICMPCode, ctaProtoICMPv6Code:
			if len(v) != 1 {
				return false
			}
			switch typ {
			case ctaProtoNum:
				*proto = v[0]
			case ctaProtoICMPType, ctaProtoICMPv6Type:
				*dst = *dst&0xff | uint16(v[0])<<8
			default:
				*dst = *dst&0xff00 | uint16(v[0])
			}
		case ctaProtoSrcPort, ctaProtoICMPID, ctaProtoICMPv6ID:
			ok = u16(v, src)
		case ctaProtoDstPort:
			ok = u16(v, dst)
		}
		if !ok {
			return false
		}
	}
	return true
}

func decodeProtoInfo(b []byte, c *track.Conn) bool {
	for len(b) != 0 {
		typ, v, rest, ok := nextAttr(b)
		if !ok {
			return false
		}
		b = rest
		if typ != ctaProtoInfoTCP {
			continue
		}
		for len(v) != 0 {
			var s []byte
			if typ, s, v, ok = nextAttr(v); !ok {
				return false
			}
			if typ == ctaProtoInfoTCPState {
				if len(s) != 1 {
					return false
				}
				c.TCPState, c.HasTCP = s[0], true
			}
		}
	}
	return true
}

func decodeCounters(b []byte, packets, bytes *uint64) bool {
	for len(b) != 0 {
		typ, v, rest, ok := nextAttr(b)
		if !ok {
			return false
		}
		b = rest
		p := packets
		switch typ {
		case ctaCountersBytes, ctaCounters32Bytes:
			p = bytes
		case ctaCountersPackets, ctaCounters32Packets:
		default:
			continue
		}
		switch {
		case len(v) == 8 && typ <= ctaCountersBytes:
			*p = be.Uint64(v)
		case len(v) == 4 && typ >= ctaCounters32Packets:
			*p = uint64(be.Uint32(v))
		default:
			return false
		}
	}
	return true
}

func decodeTimestamp(b []byte, c *track.Conn) bool {
	for len(b) != 0 {
		typ, v, rest, ok := nextAttr(b)
		if !ok {
			return false
		}
		b = rest
		if typ != ctaTimestampStart && typ != ctaTimestampStop {
			continue
		}
		if len(v) != 8 {
			return false
		}
		if typ == ctaTimestampStart {
			c.Start = int64(be.Uint64(v))
		} else {
			c.Stop = int64(be.Uint64(v))
		}
	}
	return true
}
