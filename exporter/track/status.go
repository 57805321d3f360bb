package track

// Bits of Conn.Status (enum ip_conntrack_status in
// include/uapi/linux/netfilter/nf_conntrack_common.h).
const (
	StatusExpected  = 1 << 0
	StatusSeenReply = 1 << 1
	StatusAssured   = 1 << 2
	StatusConfirmed = 1 << 3
	StatusSrcNAT    = 1 << 4
	StatusDstNAT    = 1 << 5
	StatusDying     = 1 << 9
)

// States of Conn.TCPState (enum tcp_conntrack in
// include/uapi/linux/netfilter/nf_conntrack_tcp.h).
const (
	TCPNone uint8 = iota
	TCPSynSent
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastAck
	TCPTimeWait
	TCPClose
	TCPSynSent2
)

// IP protocol numbers that the state machine knows.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoICMPv6 = 58
)

func (c *Conn) seenReply() bool { return c.Status&StatusSeenReply != 0 }
func (c *Conn) assured() bool   { return c.Status&StatusAssured != 0 }

// tcpOver says that the connection ended by FIN or RST.
func (c *Conn) tcpOver() bool {
	return c.HasTCP && (c.TCPState == TCPTimeWait || c.TCPState == TCPClose)
}

func tcpClosing(state uint8) bool { return state >= TCPFinWait && state <= TCPTimeWait }

// tcpHandshake says that the handshake was completed.
func (c *Conn) tcpHandshake() bool {
	return c.assured() || (c.seenReply() && c.HasTCP && c.TCPState >= TCPEstablished && c.TCPState <= TCPTimeWait)
}
