package nflog

import (
	"encoding/binary"
	"errors"

	"github.com/weirnet/weir/exporter/packet"
)

// The wire format (include/uapi/linux/netfilter/nfnetlink_log.h). Lengths and types
// are in host order, values in network order.
const (
	nlHdrLen  = 16
	nfHdrLen  = 4
	nlaHdrLen = 4

	nlmsgError = 2
	nlmsgDone  = 3

	nlmFRequest = 0x1
	nlmFAck     = 0x4

	subsysLog = 4 << 8 // NFNL_SUBSYS_ULOG
	msgPacket = subsysLog
	msgConfig = subsysLog | 1

	attrPacketHdr = 1 // NFULA_PACKET_HDR: protocol be16, hook u8, padding
	attrTimestamp = 3
	attrIndev     = 4
	attrOutdev    = 5
	attrPhysIn    = 6
	attrPhysOut   = 7
	attrPayload   = 9
	attrPrefix    = 10
	attrSeq       = 12

	cfgCmd    = 1 // NFULA_CFG_CMD
	cfgMode   = 2
	cfgBuffer = 3
	cfgTime   = 4
	cfgThresh = 5
	cfgFlags  = 6

	cmdBind    = 1
	copyPacket = 2
	flagSeq    = 1

	nlaTypeMask = 0x3fff
)

var (
	ne = binary.NativeEndian
	be = binary.BigEndian
)

// errMalformed is what a message gives that is cut short or whose lengths do not fit.
var errMalformed = errors.New("malformed NFLOG message")

type header struct {
	size     uint32
	typ      uint16
	seq, pid uint32
}

// nextMessage cuts the first message off b.
func nextMessage(b []byte) (h header, payload, rest []byte, err error) {
	if len(b) < nlHdrLen {
		return h, nil, nil, errMalformed
	}
	h = header{ne.Uint32(b), ne.Uint16(b[4:]), ne.Uint32(b[8:]), ne.Uint32(b[12:])}
	if h.size < nlHdrLen || uint64(h.size) > uint64(len(b)) {
		return h, nil, nil, errMalformed
	}
	return h, b[nlHdrLen:h.size], b[min((int(h.size)+3)&^3, len(b)):], nil
}

// message is one logged packet before it is named. Prefix points into the buffer.
type message struct {
	Denial
	prefix  []byte
	in, out uint32 // interface indices; 0 for none
	seq     uint32
	hasSeq  bool
}

// decode reads the payload of a packet message, nfgenmsg included. It allocates
// nothing. Unknown attributes are skipped.
func decode(b []byte, m *message) error {
	*m = message{}
	if len(b) < nfHdrLen {
		return errMalformed
	}
	m.Group = be.Uint16(b[2:])
	var physIn, physOut uint32
	got := false
	for b = b[nfHdrLen:]; len(b) > 0; {
		if len(b) < nlaHdrLen {
			return errMalformed
		}
		n, typ := int(ne.Uint16(b)), ne.Uint16(b[2:])&nlaTypeMask
		if n < nlaHdrLen || n > len(b) {
			return errMalformed
		}
		v := b[nlaHdrLen:n]
		b = b[min((n+3)&^3, len(b)):]
		ok := true
		switch typ {
		case attrPacketHdr:
			if ok = len(v) == 4; ok {
				m.Hook = Hook(v[2])
			}
		case attrTimestamp:
			if ok = len(v) == 16; ok {
				m.TimeMs = int64(be.Uint64(v))*1000 + int64(be.Uint64(v[8:]))/1000
			}
		case attrIndev:
			ok = u32(v, &m.in)
		case attrOutdev:
			ok = u32(v, &m.out)
		case attrPhysIn:
			ok = u32(v, &physIn)
		case attrPhysOut:
			ok = u32(v, &physOut)
		case attrPrefix:
			m.prefix = v
			if n := len(v); n > 0 && v[n-1] == 0 {
				m.prefix = v[:n-1]
			}
		case attrSeq:
			ok = u32(v, &m.seq)
			m.hasSeq = ok
		case attrPayload:
			h, err := packet.Parse(v)
			if err != nil {
				return err
			}
			m.Tuple, m.Fragment = h.Tuple, h.Fragment
			got = true
		}
		if !ok {
			return errMalformed
		}
	}
	if physIn != 0 { // a bridge's port says more than the bridge
		m.in = physIn
	}
	if physOut != 0 {
		m.out = physOut
	}
	if !got {
		return errMalformed
	}
	return nil
}

func u32(v []byte, p *uint32) bool {
	if len(v) != 4 {
		return false
	}
	*p = be.Uint32(v)
	return true
}

// request makes a configuration message for a group.
func request(group uint16, seq uint32, attrs ...[]byte) []byte {
	b := make([]byte, nlHdrLen+nfHdrLen, 128)
	ne.PutUint16(b[4:], msgConfig)
	ne.PutUint16(b[6:], nlmFRequest|nlmFAck)
	ne.PutUint32(b[8:], seq)
	be.PutUint16(b[nlHdrLen+2:], group)
	for _, a := range attrs {
		b = append(b, a...)
	}
	ne.PutUint32(b, uint32(len(b)))
	return b
}

// attr makes one attribute, padded.
func attr(typ uint16, v []byte) []byte {
	b := ne.AppendUint16(nil, uint16(nlaHdrLen+len(v)))
	b = append(ne.AppendUint16(b, typ), v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// configure makes the messages that subscribe to a group: bind it, copy the headers
// of each packet, many packets a message but none later than 100 ms, and number them.
func configure(group uint16) [][]byte {
	mode := append(be.AppendUint32(nil, copyRange), copyPacket, 0)
	return [][]byte{
		request(group, 1, attr(cfgCmd, []byte{cmdBind})),
		request(
			group, 2,
			attr(cfgMode, mode), attr(cfgBuffer, be.AppendUint32(nil, kernelBuffer)),
			attr(cfgTime, be.AppendUint32(nil, 10)), // in 10 ms
			attr(cfgThresh, be.AppendUint32(nil, 64)),
			attr(cfgFlags, be.AppendUint16(nil, flagSeq)),
		),
	}
}

const (
	// copyRange is how much of a packet is copied: the longest IPv4 header, or IPv6
	// with some extensions, and the transport's first bytes.
	copyRange    = 128
	kernelBuffer = 32 << 10 // bytes that the kernel gathers before it sends
)
