package rollup

import (
	"math"
	"slices"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// order are the columns by which query.Newer finds the newest record.
type order struct{ conn, start, end, final, seq, records *column.Column }

func num(c *column.Column, i int32) (uint64, bool) {
	if c == nil || !c.Present(int(i)) {
		return 0, false
	}
	return c.Nums[i], true
}

// rank is what query.Newer compares, in its order; the end as it sorts.
func (o *order) rank(i int32) (r [4]uint64) {
	for k, c := range [4]*column.Column{o.end, o.final, o.seq, o.records} {
		r[k], _ = num(c, i)
	}
	r[0] ^= 1 << 63 // it is signed
	return r
}

// newer is query.Newer of two rows.
func (o *order) newer(a, b int32) bool {
	x, y := o.rank(a), o.rank(b)
	return slices.Compare(x[:], y[:]) >= 0
}

// fold finds the newest record of each connection that may have several.
func (b *builder) fold() error {
	var o order
	for _, x := range []struct {
		f  flow.FieldID
		to **column.Column
	}{{flow.FConnID, &o.conn}, {flow.FStart, &o.start}, {flow.FEnd, &o.end}, {flow.FFinal, &o.final}, {flow.FSeq, &o.seq}, {flow.FRecords, &o.records}} {
		c, err := b.column(segment.Rows, x.f)
		if err != nil {
			return err
		}
		*x.to = c
	}
	_, _, all := b.groupsOf(segment.Rows)
	n := all.Rows
	conns, of := o.conns(int32(n))
	number := make([]int32, n) // of each row that is kept
	b.into = make([]int32, n)
	for i := range int32(n) {
		number[i] = int32(len(b.kept))
		if c := of[i]; c < 0 || conns[c].mixed || conns[c].newest == i {
			b.kept = append(b.kept, i)
		}
	}
	for i := range int32(n) {
		b.into[i] = number[i]
		if c := of[i]; c >= 0 && !conns[c].mixed {
			b.into[i] = number[conns[c].newest]
		}
	}
	if 10*len(b.kept) > 9*n { // hardly fewer
		b.kept = nil
	}
	return nil
}

// conn is a connection that may have several rows.
type conn struct {
	newest int32
	mixed  bool // its rows do not agree about the start, from which a range tells whether it was opened in it
}

// conns finds the connections, and the number of each row's; below 0 where it has none.
func (o *order) conns(n int32) (conns []conn, of []int32) {
	of = make([]int32, n)
	var x index
	for i := range n {
		id, ok := num(o.conn, i)
		if !ok {
			of[i] = -1
			continue
		}
		start, started := num(o.start, i)
		at, known := x.of(id)
		of[i] = at
		if !known {
			conns = append(conns, conn{newest: i, mixed: !started})
			continue
		}
		c := &conns[at]
		if s, _ := num(o.start, c.newest); !started || s != start {
			c.mixed = true
		}
		if o.newer(i, c.newest) {
			c.newest = i
		}
	}
	return conns, of
}

// sums adds up a delta over the records of each connection that is kept.
func (b *builder) sums(f flow.FieldID) (*column.Column, error) {
	c, err := b.column(segment.Rows, f)
	if err != nil || c == nil {
		return nil, err
	}
	out := &column.Column{Nums: make([]uint64, len(b.kept)), Has: make([]byte, len(b.kept))}
	for i, to := range b.into {
		v, ok := num(c, int32(i))
		if !ok {
			continue
		}
		out.Has[to] = 1
		if out.Nums[to] += v; out.Nums[to] < v {
			out.Nums[to] = math.MaxUint64
		}
	}
	return out, nil
}

// writeFolded writes the kept rows of kind Rows.
func (b *builder) writeFolded(w *segment.Writer) error {
	if len(b.kept) == 0 {
		return nil
	}
	for _, f := range w.Fields() {
		c, err := b.folded(f)
		if err != nil {
			return err
		}
		if err := w.WriteColumn(c, len(b.kept)); err != nil {
			return err
		}
	}
	_, _, g := b.groupsOf(segment.Rows)
	g.Rows, g.Kind = len(b.kept), segment.Rows
	return w.EndGroup(g)
}

func (b *builder) folded(f flow.FieldID) (*column.Column, error) {
	for _, c := range query.Counters {
		if c.Delta == f {
			return b.sums(f)
		}
	}
	c, err := b.column(segment.Rows, f)
	return column.Gather(c, b.kept), err
}
