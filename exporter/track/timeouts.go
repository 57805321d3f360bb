package track

// Timeouts are the kernel's, in seconds, as the shell reads them from
// net.netfilter.nf_conntrack_*; 0 is unknown. They tell when the last packet came:
// each packet sets what remains back to the timeout of the entry's state.
type Timeouts struct {
	TCP                  [10]uint32 // by TCP state
	TCPUnack, TCPRetrans uint32     // what the kernel takes instead while data is not acknowledged
	UDP, UDPStream       uint32
	ICMP, ICMPv6         uint32
	GRE, GREStream       uint32
	Generic              uint32
}

// DefaultTimeouts are those of an unconfigured kernel
// (net/netfilter/nf_conntrack_proto_*.c).
func DefaultTimeouts() Timeouts {
	return Timeouts{
		TCP: [10]uint32{
			TCPSynSent: 120, TCPSynRecv: 60, TCPEstablished: 432000, TCPFinWait: 120,
			TCPCloseWait: 60, TCPLastAck: 30, TCPTimeWait: 120, TCPClose: 10, TCPSynSent2: 120,
		},
		TCPUnack: 300, TCPRetrans: 300,
		UDP: 30, UDPStream: 120, ICMP: 30, ICMPv6: 30, GRE: 30, GREStream: 180, Generic: 600,
	}
}

// of gives the timeouts that may apply to c, the most likely one first.
func (t *Timeouts) of(c *Conn) (list [3]uint32) {
	switch c.Orig.Proto {
	case protoTCP:
		if c.HasTCP && int(c.TCPState) < len(t.TCP) {
			list[0] = t.TCP[c.TCPState]
			if c.TCPState >= TCPEstablished {
				list[1], list[2] = t.TCPUnack, t.TCPRetrans
			}
		}
	case protoUDP:
		list[0] = t.UDP
		if c.assured() {
			list[0], list[1] = t.UDPStream, t.UDP
		}
	case protoICMP:
		list[0] = t.ICMP
	case protoICMPv6:
		list[0] = t.ICMPv6
	case protoGRE:
		list[0] = t.GRE
		if c.assured() {
			list[0], list[1] = t.GREStream, t.GRE
		}
	default:
		list[0] = t.Generic
	}
	return list
}

// lastPacket gives the time of the last packet, which cannot be before lowMs nor
// after nowMs; 0 when the timeouts do not tell. What remains is cut to whole
// seconds by the kernel, so the result is at most one second too early.
func (t *Timeouts) lastPacket(nowMs, lowMs int64, c *Conn) int64 {
	if !c.HasTimeout {
		return 0
	}
	for _, full := range t.of(c) {
		if full == 0 || c.Timeout > full {
			continue
		}
		if at := nowMs - int64(full-c.Timeout)*1000; at+1000 > lowMs {
			return max(at, lowMs)
		}
	}
	return 0
}

// lastBeforeDeath gives the time of the last packet of an entry that is known
// by its death only: the time of expiry less the timeout, where that does not fall
// before lowMs; otherwise it was deleted, and its death is all that is known.
func (t *Timeouts) lastBeforeDeath(deathMs, lowMs int64, c *Conn) int64 {
	for _, full := range t.of(c) {
		if at := deathMs - int64(full)*1000; full != 0 && at >= lowMs {
			return at
		}
	}
	return max(deathMs, lowMs)
}
