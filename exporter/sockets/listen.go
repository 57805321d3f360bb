package sockets

import (
	"cmp"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// heard is what one namespace listens on. It does not change.
type heard struct {
	list []Listener
	atMs int64
	ns   uint64
}

// firstEphemeral is where a UDP port is more likely a client's that waits for an
// answer than a server's (net.ipv4.ip_local_port_range begins at 32768): it is not
// named among those that listen.
const firstEphemeral = 32768

// others gives where else somebody listens to addr: the ports of the protocol, in
// order, and port itself where it is open for the other protocol.
func (h *heard) others(addr *[16]byte, proto uint8, port uint16) []flow.ListenPort {
	var list []flow.ListenPort
	for i := range h.list {
		l := &h.list[i]
		if (l.Proto != proto && l.Port != port) || (l.Proto == protoUDP && l.Port >= firstEphemeral) || !l.ListensTo(addr) {
			continue
		}
		list = append(list, flow.ListenPort{Port: l.Port, Proto: l.Proto})
	}
	slices.SortFunc(list, func(a, b flow.ListenPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
	})
	return slices.Compact(list) // one port has many sockets (SO_REUSEPORT)
}

// ListensTo says whether a packet to addr reaches the listener.
func (l *Listener) ListensTo(addr *[16]byte) bool {
	if !l.Any() {
		return l.Addr == *addr
	}
	v4 := [12]byte(addr[:12]) == [12]byte{10: 0xff, 11: 0xff}
	if v4 {
		return !l.V6 || !l.V6Only
	}
	return l.V6
}

// at finds who waits at a port of addr. As in the kernel, a socket that is bound to
// the address goes before one that is bound to all; of several with one port
// (SO_REUSEPORT), one that is full is what some connections meet.
func (h *heard) at(addr *[16]byte, proto uint8, port uint16) (flow.Listen, *Listener) {
	what, exact := flow.ListenNone, false
	var best *Listener
	for i := range h.list {
		l := &h.list[i]
		if l.Proto != proto || l.Port != port {
			continue
		}
		switch {
		case l.ListensTo(addr):
			if own := !l.Any(); best == nil || (own && !exact) || (own == exact && l.Full() && !best.Full()) {
				best, exact = l, own
			}
		case best != nil:
		case l.Loopback() && what == flow.ListenNone:
			what = flow.ListenLoopback
		case !l.Loopback():
			what = flow.ListenOther
		}
	}
	switch {
	case best == nil:
		return what, nil
	case best.Full():
		return flow.ListenFull, best
	}
	return flow.ListenOpen, best
}

// fillListen says who waits at the server's port, for a connection that did not go
// well: nobody asks for the others.
func (w *Walker) fillListen(x *track.Export, r *flow.Record) {
	c := x.Conn
	if !asks(c.Orig.Proto, x.Outcome) {
		return
	}
	addr := c.Reply.Src
	h := w.table.heard(&addr)
	if h == nil || w.stale(h.atMs, x) {
		return
	}
	what, l := h.at(&addr, c.Orig.Proto, c.Reply.SrcPort)
	r.SetDstListen(what)
	switch what {
	case flow.ListenFull:
		r.SetDstBacklog(l.Queue)
		r.SetDstBacklogMax(l.Limit)
	case flow.ListenOpen:
	default:
		if text := flow.FormatListens(c.Orig.Proto, h.others(&addr, c.Orig.Proto, c.Reply.SrcPort)); text != "" {
			r.SetDstListens(text)
		}
	}
}

// asks: of a TCP connection that nothing is proven of yet the handshake is not made.
func asks(proto uint8, o flow.Outcome) bool {
	if o == flow.OutcomeOK || o == flow.OutcomeDenied {
		return false
	}
	return proto == protoTCP || (proto == protoUDP && o != flow.OutcomeUnknown)
}

// stale says that a look is from too long before the connection's end: the namespace
// is not read any more, and somebody else may have its address.
func (w *Walker) stale(atMs int64, x *track.Export) bool {
	end := max(x.EndMs, x.StartMs)
	return end != 0 && atMs+3*w.every.Load()+slackMs < end
}
