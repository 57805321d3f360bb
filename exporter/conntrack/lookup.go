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

// Lookup asks the kernel for the entry whose original direction is t: in zone 0, and
// where there is none in all the zones in use, of which the first that has it is taken.
// Found is false where none has. It needs CAP_NET_ADMIN in the namespace.
func Lookup(ctx context.Context, o Options, t flow.Tuple) (c track.Conn, found bool, err error) {
	c, found, err = LookupIn(ctx, o, t, 0)
	if found || err != nil {
		return c, found, err
	}
	err = ask(ctx, o, filterRequest(t), func(payload []byte) error {
		var x track.Conn
		// A kernel before 5.8 knows no filter, and shows all.
		if decodeConn(payload, &x) == nil && x.Orig == t && !found {
			c, found = x, true
		}
		return nil
	})
	return c, found, err
}

// LookupIn is Lookup in one zone.
func LookupIn(ctx context.Context, o Options, t flow.Tuple, zone uint16) (c track.Conn, found bool, err error) {
	err = ask(ctx, o, tupleRequest(msgGet, t, zone), func(payload []byte) error {
		// The kernel finds an entry by its reply direction too: that is the other end's.
		err := decodeConn(payload, &c)
		found = err == nil && c.Orig == t
		return err
	})
	return c, found, err
}

// ask gives fn each entry of the answer; that there is none is no error.
func ask(ctx context.Context, o Options, request []byte, fn func(payload []byte) error) (err error) {
	if o.Receive == 0 {
		o.Receive = maxReply
	}
	s, err := dial(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	_, err = s.exchange(ctx, request, make([]byte, maxReply), func(_ []byte, h header, payload []byte) error {
		if h.typ != msgNew {
			return nil
		}
		return fn(payload)
	})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("look for the connection: %w", err)
	}
	return nil
}

// tupleRequest asks for one thing about the entry of a zone whose original direction is t.
func tupleRequest(typ uint16, t flow.Tuple, zone uint16) []byte {
	r := request(typ, nlmFAck, family(t))
	tupleOf(r, t)
	if zone != 0 {
		r.u16(ctaZone, zone)
	}
	return r.finish(0)
}

// filterRequest asks for the entries of all zones whose original direction is t.
func filterRequest(t flow.Tuple) []byte {
	r := request(msgGet, nlmFDump, family(t))
	tupleOf(r, t)
	var filter builder
	var flags [4]byte
	ne.PutUint32(flags[:], filterTuple)
	filter.attr(ctaFilterOrigFlags, flags[:])
	filter.attr(ctaFilterReplyFlags, make([]byte, 4))
	r.attr(ctaFilter|nlaNested, filter.b)
	return r.finish(0)
}

func family(t flow.Tuple) uint8 {
	if netip.AddrFrom16(t.Src).Is4In6() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// tupleOf adds the original direction to a request.
func tupleOf(r *builder, t flow.Tuple) {
	srcType, dstType := uint16(ctaIPv6Src), uint16(ctaIPv6Dst)
	src, dst := netip.AddrFrom16(t.Src), netip.AddrFrom16(t.Dst)
	if src.Is4In6() {
		srcType, dstType = ctaIPv4Src, ctaIPv4Dst
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
	r.attr(ctaTupleOrig|nlaNested, tuple.b)
}
