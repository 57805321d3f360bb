package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// maxFolded bounds the connections that are held back to be folded into one line.
const maxFolded = 10_000

// fold joins connections that say the same into one line: same ends, same outcome for
// the same reason.
type fold struct {
	groups map[string]*folded
	conns  int
	seq    int
}

// folded is one line to be.
type folded struct {
	rec    flow.Record // the newest
	seq    int
	byConn map[uint64]flow.Record // the newest of each connection
	others []flow.Record          // without a connection's number
}

// add takes a record; it reports whether no more should be added before a flush.
func (f *fold) add(st *style, r *flow.Record) (full bool) {
	if f.groups == nil {
		f.groups = map[string]*folded{}
	}
	from, to := st.fromTo(r)
	// What is measured of each connection is left out of what must be the same.
	same := *r
	same.Has.Clear(flow.FRTT)
	same.Has.Clear(flow.FDNSTime)
	same.LossPackets, same.LossRevPackets = 0, 0
	key := strings.Join([]string{from, to, proto(r), st.outcome(r), listens(&same), why(&same, true)}, "\x00")
	g := f.groups[key]
	if g == nil {
		g = &folded{byConn: map[uint64]flow.Record{}}
		f.groups[key] = g
	}
	f.seq++
	g.rec, g.seq = *r, f.seq
	f.conns++
	if r.Has.Has(flow.FConnID) {
		g.byConn[r.ConnID] = *r
	} else {
		g.others = append(g.others, *r)
	}
	return f.conns >= maxFolded
}

// take gives the lines in the order of their newest record, and forgets them.
func (f *fold) take() []*folded {
	list := make([]*folded, 0, len(f.groups))
	for _, g := range f.groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *folded) int { return a.seq - b.seq })
	f.groups, f.conns = nil, 0
	return list
}

// line is the record to print: the newest, with the bytes and losses of all.
func (g *folded) line() (r flow.Record, n int, rttMin, rttMax uint32) {
	r, n = g.rec, len(g.byConn)+len(g.others)
	if n == 1 {
		return r, n, r.RTT, r.RTT
	}
	r.Has.Clear(flow.FBytes)
	r.Has.Clear(flow.FRevBytes)
	r.Has.Clear(flow.FRTT)
	r.Bytes, r.RevBytes, r.LossPackets, r.LossRevPackets = 0, 0, 0, 0
	add := func(o *flow.Record) {
		if o.Has.Has(flow.FBytes) {
			r.SetBytes(r.Bytes + o.Bytes)
		}
		if o.Has.Has(flow.FRevBytes) {
			r.SetRevBytes(r.RevBytes + o.RevBytes)
		}
		if o.Has.Has(flow.FRTT) {
			if !r.Has.Has(flow.FRTT) {
				rttMin = o.RTT
			}
			rttMin, rttMax = min(rttMin, o.RTT), max(rttMax, o.RTT)
			r.SetRTT(o.RTT)
		}
		r.LossPackets += max(o.LossPackets, 0)
		r.LossRevPackets += max(o.LossRevPackets, 0)
	}
	for _, o := range g.byConn {
		add(&o)
	}
	for i := range g.others {
		add(&g.others[i])
	}
	return r, n, rttMin, rttMax
}

// uncounted says how many of the connections have no bytes, where some have.
func (g *folded) uncounted() string {
	n := 0
	count := func(r *flow.Record) {
		if !r.Has.Has(flow.FBytes) && !r.Has.Has(flow.FRevBytes) {
			n++
		}
	}
	for _, r := range g.byConn {
		count(&r)
	}
	for i := range g.others {
		count(&g.others[i])
	}
	if n == 0 {
		return ""
	}
	return " + " + strconv.Itoa(n) + " uncounted"
}
