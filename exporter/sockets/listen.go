package sockets

import (
	"cmp"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/track"
)

// heard is what one namespace listened on from one look to another. It does not
// change, but for older, which the table's lock guards.
type heard struct {
	list      []Listener
	firstMs   int64 // the look that found it so first
	atMs      int64 // the last that did; list is its
	namespace uint64
	older     *heard // what was before
}

// maxHeard is how many changes are remembered of a namespace: a record is made up to
// a timeout of conntrack after its connection failed, and what was then counts.
const maxHeard = 8

// newHeard follows prev, which may be nil. What is older than keepMs is let go.
func newHeard(prev *heard, ns uint64, list []Listener, nowMs, keepMs int64) *heard {
	h := &heard{list: list, firstMs: nowMs, atMs: nowMs, namespace: ns, older: prev}
	if prev != nil && sameEars(prev.list, list) {
		h.firstMs, h.older = prev.firstMs, prev.older
	}
	for p, n := h, 1; p.older != nil; p, n = p.older, n+1 {
		if n == maxHeard || nowMs-p.older.atMs > keepMs {
			p.older = nil
			break
		}
	}
	return h
}

// sameEars compares two looks, except for the numbers of a queue and for clients'
// UDP sockets. An order that changed is a difference, which does no harm.
func sameEars(a, b []Listener) bool {
	for {
		for len(a) > 0 && a[0].fleeting() {
			a = a[1:]
		}
		for len(b) > 0 && b[0].fleeting() {
			b = b[1:]
		}
		if len(a) == 0 || len(b) == 0 {
			return len(a) == len(b)
		}
		x, y := &a[0], &b[0]
		if x.Addr != y.Addr || x.Port != y.Port || x.Proto != y.Proto || x.V6Only != y.V6Only || x.Full() != y.Full() {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

// when gives what was at a time, as of the last look before it, or of the first of
// all; and what the next look found otherwise, nil where the time is not between two.
func (h *heard) when(ms int64) (was, next *heard) {
	for h.firstMs > ms+slackMs && h.older != nil {
		h, next = h.older, h
	}
	if ms <= h.atMs {
		next = nil
	}
	return h, next
}

// firstEphemeral is where a UDP port is more likely a client's that waits for an
// answer than a server's (net.ipv4.ip_local_port_range begins at 32768): it is not
// named among those that listen.
const firstEphemeral = 32768

func (l *Listener) fleeting() bool { return l.Proto == protoUDP && l.Port >= firstEphemeral }

// others gives where else somebody listens to addr: the ports of the protocol, in
// order, and port itself where it is open for the other protocol.
func (h *heard) others(addr *[16]byte, proto uint8, port uint16) []flow.ListenPort {
	var list []flow.ListenPort
	for i := range h.list {
		l := &h.list[i]
		if (l.Proto != proto && l.Port != port) || l.fleeting() || !l.ListensTo(addr) {
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

// fillListen says who waited at the server's port when the last packet came, for a
// connection that did not go well: nobody asks for the others.
func (w *Walker) fillListen(x *track.Export, r *flow.Record) {
	c := x.Conn
	if !asks(c.Orig.Proto, x.Outcome) {
		return
	}
	addr := c.Reply.Src
	end := max(x.EndMs, x.StartMs)
	h, next := w.table.heard(&addr, end)
	if h == nil || (end != 0 && w.far(h, end)) {
		return
	}
	what, l := h.at(&addr, c.Orig.Proto, c.Reply.SrcPort)
	if next != nil {
		if then, _ := next.at(&addr, c.Orig.Proto, c.Reply.SrcPort); then != what {
			return // it changed between two looks, and nobody knows on which side of the connection
		}
	}
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

// leastFarMs is what a busy node may be late with a walk, whatever the interval.
const leastFarMs = 10_000

// far says that a look is from too long before, when the namespace was read no more
// and another may have its address by then; or from too long after.
func (w *Walker) far(h *heard, ms int64) bool {
	far := max(3*w.every.Load(), leastFarMs)
	return h.atMs+far < ms || h.firstMs-far > ms
}
