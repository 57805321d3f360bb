package correlate

import (
	"testing"

	"github.com/weirnet/weir/api/flow"
)

// sock makes a record of one end with what its node's sockets say.
func sock(h half, set func(*flow.Record)) *flow.Record {
	r := h.rec()
	set(r)
	return r
}

// TestSocketsOfBothEnds: the client's node speaks for the path, each end for itself,
// whichever came first.
func TestSocketsOfBothEnds(t *testing.T) {
	client := sock(half{end: sideSrc, port: 4000, last: 100, total: 100, delta: 100}, func(r *flow.Record) {
		r.SetRTT(50_000)
		r.SetRTTMin(49_000)
		r.SetRetransSrc(11)
		r.SetPathMTU(1450)
		r.SetLimitedBySrc(flow.LimitedByCongestion)
	})
	server := sock(half{end: sideDst, port: 4000, last: 100, total: 100, delta: 100}, func(r *flow.Record) {
		r.SetRTT(70_000)
		r.SetRTTMin(48_000)
		r.SetRetransDst(2)
		r.SetPathMTU(1400)
		r.SetLimitedByDst(flow.LimitedByApplication)
	})
	for _, order := range [][]*flow.Record{{client, server}, {server, client}, {server, client, server}} {
		g := newRig(t)
		for _, r := range order {
			again := *r
			g.seeRec(&again)
		}
		g.drain()
		r := &g.out[len(g.out)-1]
		if r.RTT != 50_000 || r.RTTMin != 48_000 || r.RetransSrc != 11 || r.RetransDst != 2 || r.PathMTU != 1400 {
			t.Errorf("rtt %d, least %d, retransmits %d and %d, mtu %d", r.RTT, r.RTTMin, r.RetransSrc, r.RetransDst, r.PathMTU)
		}
		if r.LimitedBySrc != flow.LimitedByCongestion || r.LimitedByDst != flow.LimitedByApplication {
			t.Errorf("limited by %v and %v", r.LimitedBySrc, r.LimitedByDst)
		}
	}
}

// TestSocketOfTheServerAlone: its later word replaces its earlier one, and what the
// client's node did not say stays absent.
func TestSocketOfTheServerAlone(t *testing.T) {
	g := newRig(t)
	for seq, rtt := range []uint32{10_000, 30_000} {
		n := uint64(seq+1) * 100
		g.seeRec(sock(half{end: sideDst, port: 4000, last: int64(n), total: n, delta: 100, seq: uint32(seq)}, func(r *flow.Record) {
			r.SetRTT(rtt)
			r.SetRetransDst(uint32(seq))
		}))
	}
	g.drain()
	r := &g.out[len(g.out)-1]
	if r.RTT != 30_000 || r.RetransDst != 1 {
		t.Errorf("rtt %d, %d retransmits of the server", r.RTT, r.RetransDst)
	}
	if r.Has.Has(flow.FRetransSrc) || r.Has.Has(flow.FLimitedBySrc) || r.Has.Has(flow.FPathMTU) {
		t.Error("a number that nobody told is there")
	}
}

// TestWhoListens: the server's node alone has looked; what it said last counts, and
// what it does not say any more is not kept.
func TestWhoListens(t *testing.T) {
	client := sock(half{end: sideSrc, port: 4000, last: 100, total: 100, delta: 100}, func(*flow.Record) {})
	server := func(seq uint32, set func(*flow.Record)) *flow.Record {
		return sock(half{end: sideDst, port: 4000, last: 100 + int64(seq), total: 100, seq: seq}, set)
	}
	full := server(0, func(r *flow.Record) {
		r.SetDstListen(flow.ListenFull)
		r.SetDstBacklog(2)
		r.SetDstBacklogMax(1)
	})
	none := server(1, func(r *flow.Record) {
		r.SetDstListen(flow.ListenNone)
		r.SetDstListens("8080, 53/udp")
	})
	for _, c := range []struct {
		order []*flow.Record
		want  string
	}{
		{[]*flow.Record{client, full}, "backlog full (2 wait, 1 may)"},
		{[]*flow.Record{full, client}, "backlog full (2 wait, 1 may)"},
		{[]*flow.Record{full, client, none}, "nobody listens (listens: 8080, 53/udp)"},
		{[]*flow.Record{none, client}, "nobody listens (listens: 8080, 53/udp)"},
		{[]*flow.Record{full, client, server(2, func(*flow.Record) {})}, ""},
		{[]*flow.Record{client}, ""},
	} {
		g := newRig(t)
		for _, r := range c.order {
			again := *r
			g.seeRec(&again)
		}
		g.drain()
		r := &g.out[len(g.out)-1]
		if got := r.ListenText(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		if c.want == "" && (r.Has.Has(flow.FDstListen) || r.Has.Has(flow.FDstBacklog) || r.Has.Has(flow.FDstListens)) {
			t.Error("a word is there that nobody said")
		}
	}
}
