package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// InNetNS calls f with the calling thread in the network namespace at path; "" is
// the present one. Sockets that f makes stay there. It needs CAP_SYS_ADMIN.
func InNetNS(path string, f func() error) error { return inNetNS(path, f) }

// Lookup asks the kernel for the entry whose original direction is t, in zone 0.
// Found is false where there is none. It needs CAP_NET_ADMIN in the namespace.
func Lookup(ctx context.Context, o Options, t flow.Tuple) (c track.Conn, found bool, err error) {
	if o.Receive == 0 {
		o.Receive = maxReply
	}
	s, err := dial(o)
	if err != nil {
		return c, false, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	_, err = s.exchange(ctx, tupleRequest(msgGet, t), make([]byte, maxReply), func(_ []byte, h header, payload []byte) error {
		if h.typ != msgNew {
			return nil
		}
		found = true
		return decodeConn(payload, &c)
	})
	if errors.Is(err, unix.ENOENT) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("look for the connection: %w", err)
	}
	return c, found, nil
}

// tupleRequest asks for one thing about the entry whose original direction is t.
func tupleRequest(typ uint16, t flow.Tuple) []byte {
	family := uint8(unix.AF_INET6)
	srcType, dstType := uint16(ctaIPv6Src), uint16(ctaIPv6Dst)
	src, dst := netip.AddrFrom16(t.Src), netip.AddrFrom16(t.Dst)
	if src.Is4In6() {
		family, srcType, dstType = unix.AF_INET, ctaIPv4Src, ctaIPv4Dst
		src, dst = src.Unmap(), dst.Unmap()
	}
	var ip, proto, tuple builder
	ip.attr(srcType, src.AsSlice())
	ip.attr(dstType, dst.AsSlice())
	proto.attr(ctaProtoNum, []byte{t.Proto})
	proto.u16(ctaProtoSrcPort, t.SrcPort)
	proto.u16(ctaProtoDstPort, t.DstPort)
	tuple.attr(ctaTupleIP|nlaNested, ip.b)
	tuple.attr(ctaTupleProto|nlaNested, proto.b)
	r := request(typ, nlmFAck, family)
	r.attr(ctaTupleOrig|nlaNested, tuple.b)
	return r.finish(0)
}
