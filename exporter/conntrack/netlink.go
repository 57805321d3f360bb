package conntrack

import (
	"encoding/binary"
	"errors"
)

// The wire format of netlink (RFC 3549, include/uapi/linux/netlink.h). Lengths and
// types are in host order, values of nfnetlink in network order.
var (
	ne = binary.NativeEndian
	be = binary.BigEndian
)

const (
	nlHdrLen  = 16
	nfHdrLen  = 4
	nlaHdrLen = 4

	nlmsgNoop    = 1
	nlmsgError   = 2
	nlmsgDone    = 3
	nlmsgOverrun = 4

	nlmFRequest  = 0x1
	nlmFAck      = 0x4
	nlmFDump     = 0x300
	nlmFDumpIntr = 0x10

	nlaTypeMask = 0x3fff
	nlaNested   = 0x8000

	subsysCTNetlink = 1 << 8
	msgNew          = subsysCTNetlink // | IPCTNL_MSG_CT_NEW, which is 0
	msgGet          = subsysCTNetlink | 1
	msgDelete       = subsysCTNetlink | 2
	msgGetStatsCPU  = subsysCTNetlink | 4
	msgGetStats     = subsysCTNetlink | 5
	msgGetDying     = subsysCTNetlink | 6
)

// ErrMalformed is what a message gives that is cut short, or whose lengths do not fit.
var ErrMalformed = errors.New("malformed netlink message")

type header struct {
	size     uint32
	typ      uint16
	flags    uint16
	seq, pid uint32
}

// nextMessage cuts the first message off b.
func nextMessage(b []byte) (h header, payload, rest []byte, err error) {
	if len(b) < nlHdrLen {
		return h, nil, nil, ErrMalformed
	}
	h = header{ne.Uint32(b), ne.Uint16(b[4:]), ne.Uint16(b[6:]), ne.Uint32(b[8:]), ne.Uint32(b[12:])}
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

// builder makes a request.
type builder struct{ b []byte }

func request(typ, flags uint16, family uint8) *builder {
	r := &builder{make([]byte, nlHdrLen+nfHdrLen, 64)}
	ne.PutUint16(r.b[4:], typ)
	ne.PutUint16(r.b[6:], flags|nlmFRequest)
	r.b[nlHdrLen] = family
	return r
}

func (r *builder) attr(typ uint16, val []byte) {
	var h [nlaHdrLen]byte
	ne.PutUint16(h[:], uint16(nlaHdrLen+len(val)))
	ne.PutUint16(h[2:], typ)
	r.b = append(append(r.b, h[:]...), val...)
	for len(r.b)%4 != 0 {
		r.b = append(r.b, 0)
	}
}

func (r *builder) u16(typ, v uint16) { r.attr(typ, be.AppendUint16(nil, v)) }

func (r *builder) u32(typ uint16, v uint32) { r.attr(typ, be.AppendUint32(nil, v)) }

// finish fills in length and sequence number.
func (r *builder) finish(seq uint32) []byte {
	ne.PutUint32(r.b, uint32(len(r.b)))
	ne.PutUint32(r.b[8:], seq)
	return r.b
}
