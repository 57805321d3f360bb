package sockets

import (
	"encoding/binary"
	"errors"

	"github.com/weirnet/weir/api/flow"
)

// The wire format of netlink (RFC 3549, include/uapi/linux/netlink.h) and of
// inet_diag (include/uapi/linux/inet_diag.h): host order, ports in network order.
var (
	ne = binary.NativeEndian
	be = binary.BigEndian
)

const (
	nlHdrLen  = 16
	nlaHdrLen = 4

	nlmsgError = 2
	nlmsgDone  = 3

	nlmFRequest  = 0x1
	nlmFDump     = 0x300
	nlmFDumpIntr = 0x10

	nlaTypeMask = 0x3fff

	tcpDiagGetSock   = 18 // TCPDIAG_GETSOCK
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	rtmNewAddr       = 20 // RTM_NEWADDR
	rtmGetAddr       = 22 // RTM_GETADDR
	ifAddrMsgLen     = 8  // struct ifaddrmsg
	ifaAddress       = 1  // IFA_ADDRESS
	ifaLocal         = 2  // IFA_LOCAL

	afInet  = 2
	afInet6 = 10

	reqLen   = 60 // struct inet_diag_req
	reqV2Len = 56 // struct inet_diag_req_v2
	msgLen   = 72 // struct inet_diag_msg

	diagInfo      = 2  // INET_DIAG_INFO
	diagSkMemInfo = 7  // INET_DIAG_SKMEMINFO
	diagSkV6Only  = 11 // INET_DIAG_SKV6ONLY
	memInfoDrops  = 8  // SK_MEMINFO_DROPS
)

// ErrMalformed is what a message gives that is cut short, or whose lengths do not fit.
var ErrMalformed = errors.New("malformed sock_diag message")

type header struct {
	size       uint32
	typ, flags uint16
	seq        uint32
}

// nextMessage cuts the first message off b.
func nextMessage(b []byte) (h header, payload, rest []byte, err error) {
	if len(b) < nlHdrLen {
		return h, nil, nil, ErrMalformed
	}
	h = header{ne.Uint32(b), ne.Uint16(b[4:]), ne.Uint16(b[6:]), ne.Uint32(b[8:])}
	if h.size < nlHdrLen || uint64(h.size) > uint64(len(b)) {
		return h, nil, nil, ErrMalformed
	}
	end := min((int(h.size)+3)&^3, len(b))
	return h, b[nlHdrLen:h.size], b[end:], nil
}

// nextAttr cuts the first attribute off b; ok is false when b is malformed.
func nextAttr(b []byte) (typ uint16, val, rest []byte, ok bool) {
	if len(b) < nlaHdrLen {
		return 0, nil, nil, false
	}
	n := int(ne.Uint16(b))
	if n < nlaHdrLen || n > len(b) {
		return 0, nil, nil, false
	}
	return ne.Uint16(b[2:]) & nlaTypeMask, b[nlaHdrLen:n], b[min((n+3)&^3, len(b)):], true
}

// query is one dump: the sockets of a family and protocol that are in one of the
// states, with the attributes wanted. Family 0 is both, for TCP alone.
type query struct {
	family, proto uint8
	states        uint32 // 1 << State
	attrs         []uint8
}

const (
	connStates = 1<<Established | 1<<SynSent | 1<<SynRecv | 1<<FinWait1 | 1<<FinWait2 | 1<<CloseWait | 1<<LastAck | 1<<Closing
	udpStates  = 1 << Closed
)

// The dumps of one walk. What waits for others comes first, and costs little: the
// kernel keeps it in its own table. TIME_WAIT has no tcp_info.
func walkQueries() []query {
	mem, info := []uint8{diagSkMemInfo}, []uint8{diagInfo}
	return []query{
		{0, protoTCP, 1 << Listen, mem},
		{afInet, protoUDP, udpStates, mem},
		{afInet6, protoUDP, udpStates, mem},
		{0, protoTCP, connStates, info},
	}
}

// encode makes the message of q; its sequence number is still to be set.
func (q *query) encode() []byte {
	if q.family == 0 {
		return q.encodeBoth()
	}
	b := make([]byte, nlHdrLen+reqV2Len)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], nlmFRequest|nlmFDump)
	r := b[nlHdrLen:]
	r[0], r[1] = q.family, q.proto // sdiag_family, sdiag_protocol
	for _, a := range q.attrs {
		r[2] |= 1 << (a - 1) // idiag_ext
	}
	ne.PutUint32(r[4:], q.states) // idiag_states
	return b
}

// encodeBoth makes the message in its first form, struct inet_diag_req, which the kernel
// answers with both families (inet_diag_dump_compat). A dump passes the one table of
// all namespaces, whosever the sockets in it are; so it passes once, not twice.
func (q *query) encodeBoth() []byte {
	b := make([]byte, nlHdrLen+reqLen)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], tcpDiagGetSock)
	ne.PutUint16(b[6:], nlmFRequest|nlmFDump)
	r := b[nlHdrLen:]
	for _, a := range q.attrs {
		r[3] |= 1 << (a - 1) // idiag_ext
	}
	ne.PutUint32(r[52:], q.states) // idiag_states
	return b
}

// addressRequest asks for the addresses of a namespace.
func addressRequest() []byte {
	b := make([]byte, nlHdrLen+ifAddrMsgLen)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], rtmGetAddr)
	ne.PutUint16(b[6:], nlmFRequest|nlmFDump)
	return b
}

// decodeSocket fills s from the payload of a SOCK_DIAG_BY_FAMILY message of that
// protocol. It allocates nothing and keeps nothing of b. Unknown attributes are
// skipped; a known one that is too short makes the message malformed.
func decodeSocket(b []byte, proto uint8, s *Socket) error {
	*s = Socket{}
	if len(b) < msgLen {
		return ErrMalformed
	}
	s.State = State(b[1]) // idiag_state
	id := b[4:52]         // struct inet_diag_sockid
	t := &s.Tuple
	t.Proto, t.SrcPort, t.DstPort = proto, be.Uint16(id), be.Uint16(id[2:])
	if b[0] == afInet6 { // idiag_family
		s.V6 = true
		copy(t.Src[:], id[4:20])
		copy(t.Dst[:], id[20:36])
	} else {
		mapped(&t.Src, id[4:8])
		mapped(&t.Dst, id[20:24])
	}
	s.Cookie = uint64(ne.Uint32(id[40:])) | uint64(ne.Uint32(id[44:]))<<32
	s.Queue, s.Limit = ne.Uint32(b[56:]), ne.Uint32(b[60:]) // idiag_rqueue, idiag_wqueue
	for b = b[msgLen:]; len(b) != 0; {
		typ, v, rest, ok := nextAttr(b)
		if !ok {
			return ErrMalformed
		}
		b = rest
		switch typ {
		case diagInfo:
			if proto == protoTCP {
				if !decodeInfo(v, &s.Info) {
					return ErrMalformed
				}
				s.HasInfo = true
			}
		case diagSkV6Only: // sent unasked, of sockets that wait
			if len(v) < 1 {
				return ErrMalformed
			}
			s.V6Only = v[0] != 0
		case diagSkMemInfo:
			if len(v)%4 != 0 {
				return ErrMalformed
			}
			if len(v) > memInfoDrops*4 { // since Linux 4.6
				s.Drops, s.HasDrops = ne.Uint32(v[memInfoDrops*4:]), true
			}
		}
	}
	return nil
}

func mapped(p *[16]byte, v []byte) {
	p[10], p[11] = 0xff, 0xff
	copy(p[12:], v)
}

// Offsets in struct tcp_info. It has only ever grown at its end.
const (
	offRetransmits = 2
	offAppLimited  = 7
	offPMTU        = 60
	offRTT         = 68
	offTotal       = 100
	offMinRTT      = 148
	offBusy        = 168
	offRwnd        = 176
	offSndbuf      = 184
)

// decodeInfo reads as much of tcp_info as the kernel sent.
func decodeInfo(b []byte, i *Info) bool {
	if len(b) < offTotal+4 {
		return false
	}
	i.Unanswered = b[offRetransmits]
	i.PathMTU, i.RTT, i.Retrans = ne.Uint32(b[offPMTU:]), ne.Uint32(b[offRTT:]), ne.Uint32(b[offTotal:])
	if len(b) >= offMinRTT+4 {
		if v := ne.Uint32(b[offMinRTT:]); v != 1<<32-1 { // minmax_get() before the first sample
			i.RTTMin = v
		}
	}
	if len(b) >= offSndbuf+8 {
		i.AppLimited = b[offAppLimited]&1 != 0 // the first bit field of its byte
		if bigEndian {
			i.AppLimited = b[offAppLimited]&0x80 != 0
		}
		i.Busy, i.Rwnd, i.Sndbuf, i.HasBusy = ne.Uint64(b[offBusy:]), ne.Uint64(b[offRwnd:]), ne.Uint64(b[offSndbuf:]), true
	}
	return true
}

var bigEndian = ne.Uint16([]byte{0, 1}) == 1

// decodeAddress reads the payload of an RTM_NEWADDR message.
func decodeAddress(b []byte) (addr [16]byte, ok bool) {
	if len(b) < ifAddrMsgLen {
		return addr, false
	}
	family, found := b[0], false
	for b = b[ifAddrMsgLen:]; len(b) != 0; {
		typ, v, rest, good := nextAttr(b)
		if !good {
			return addr, false
		}
		b = rest
		// Of a point-to-point link IFA_ADDRESS is the far end; IFA_LOCAL is always ours.
		if typ != ifaLocal && (typ != ifaAddress || found) {
			continue
		}
		switch {
		case family == afInet && len(v) == 4:
			mapped(&addr, v)
		case family == afInet6 && len(v) == 16:
			copy(addr[:], v)
		default:
			return addr, false
		}
		found = true
	}
	return addr, found
}

// wanted says whether a socket's tuple names one connection of the node.
func wanted(t *flow.Tuple) bool { return !loopback(&t.Src) && !loopback(&t.Dst) }
