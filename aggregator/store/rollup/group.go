package rollup

import (
	"math"
	"slices"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// piece are the groups of one row group.
type piece struct {
	group      int      // number of the row group
	rows       []int32  // the first row of each group
	minutes    []uint64 // ms
	weights    []uint64
	has        []uint16 // which counters the group's rows have
	sums       [len(query.Counters)][]uint64
	straddling []int32 // rows that are in no group
}

// worth is how many rows a group must stand for on average.
const worth = 3

// group adds up the records of kind Sole.
func (b *builder) group() error {
	list, _, all := b.groupsOf(segment.Sole)
	n := 0
	for _, g := range list {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		p := &piece{group: g}
		if err := p.add(b.in); err != nil {
			return err
		}
		b.pieces = append(b.pieces, p)
		n += len(p.rows) + len(p.straddling)
	}
	b.grouped = n > 0 && worth*n <= all.Rows
	return nil
}

// keys are what makes rows of one group: their minute, which counters they have, and the
// columns of Dims.
type keys struct {
	minute []uint64 // 0 for a row that is in no group
	has    []uint16
	dims   []*column.Column
	deltas [len(query.Counters)]*column.Column
	hash   []uint64
}

func (p *piece) add(in *segment.File) error {
	rows := in.Groups[p.group].Rows
	k := &keys{minute: make([]uint64, rows), has: make([]uint16, rows), hash: make([]uint64, rows)}
	if err := k.times(in, p.group); err != nil {
		return err
	}
	for i, c := range query.Counters {
		col, err := in.Column(p.group, c.Delta)
		if err != nil {
			return err
		}
		k.deltas[i] = col
		for row := range k.has {
			if _, ok := num(col, int32(row)); ok {
				k.has[row] |= 1 << i
			}
		}
	}
	for i := range k.hash {
		k.mix(i, k.minute[i]<<16|uint64(k.has[i]))
	}
	for f := range flow.FieldID(flow.NumFields) {
		if !Dim(f) || !in.Has(f) {
			continue
		}
		col, err := in.Column(p.group, f)
		if err != nil {
			return err
		}
		k.dim(col)
	}
	p.sum(k)
	return nil
}

// times finds the minute of each row that lies within one, and was opened in it.
func (k *keys) times(in *segment.File, g int) error {
	start, err := in.Column(g, flow.FStart)
	if err != nil {
		return err
	}
	since, err := in.Column(g, flow.FSince)
	if err != nil {
		return err
	}
	end, err := in.Column(g, flow.FEnd)
	if err != nil {
		return err
	}
	for i := range int32(len(k.minute)) {
		s, started := num(start, i)
		e, ended := num(end, i)
		if !started || !ended || s < Minute || s > math.MaxInt64 {
			continue
		}
		m := s - s%Minute
		from := e
		if v, ok := num(since, i); ok && int64(v) < int64(e) {
			from = v
		}
		if from >= m && from < m+Minute && e >= m && e < m+Minute {
			k.minute[i] = m
		}
	}
	return nil
}

func (k *keys) mix(i int, v uint64) {
	h := (k.hash[i] ^ v) * 0x9E3779B97F4A7C15
	k.hash[i] = h ^ h>>32
}

func (k *keys) dim(c *column.Column) {
	if c == nil || len(c.Dict) == 1 && !slices.Contains(c.Codes, 0) {
		return
	}
	k.dims = append(k.dims, c)
	for i := range k.hash {
		switch {
		case c.Codes != nil:
			k.mix(i, uint64(c.Codes[i]))
		case c.Present(i):
			k.mix(i, c.Nums[i]+1)
		default:
			k.mix(i, 0)
		}
	}
}

// same compares all that the hash was made of.
func (k *keys) same(a, b int32) bool {
	if k.minute[a] != k.minute[b] || k.has[a] != k.has[b] {
		return false
	}
	for _, c := range k.dims {
		if c.Codes != nil {
			if c.Codes[a] != c.Codes[b] {
				return false
			}
			continue
		}
		if x, y := c.Present(int(a)), c.Present(int(b)); x != y || x && c.Nums[a] != c.Nums[b] {
			return false
		}
	}
	return true
}

// sum puts every row into its group.
func (p *piece) sum(k *keys) {
	var byHash index
	for i := range int32(len(k.hash)) {
		if k.minute[i] == 0 {
			p.straddling = append(p.straddling, i)
			continue
		}
		g, was := byHash.of(k.hash[i])
		switch {
		case !was:
			p.open(k, i)
		case !k.same(p.rows[g], i) || !p.room(k, g, i):
			p.straddling = append(p.straddling, i)
			continue
		default:
		}
		p.weights[g]++
		for j, c := range k.deltas {
			v, _ := num(c, i)
			p.sums[j][g] += v
		}
	}
}

func (p *piece) open(k *keys, i int32) {
	p.rows, p.minutes = append(p.rows, i), append(p.minutes, k.minute[i])
	p.weights, p.has = append(p.weights, 0), append(p.has, k.has[i])
	for j := range p.sums {
		p.sums[j] = append(p.sums[j], 0)
	}
}

// room tells whether no sum of a group would overflow.
func (p *piece) room(k *keys, g, i int32) bool {
	for j, c := range k.deltas {
		if v, _ := num(c, i); p.sums[j][g] > math.MaxUint64-v {
			return false
		}
	}
	return true
}

// writeGroups writes the groups of all pieces as one row group.
func (b *builder) writeGroups(w *segment.Writer) error {
	rows := make([]int, len(b.pieces))
	g := segment.Group{Kind: segment.Groups, Min: math.MaxInt64, Max: math.MinInt64}
	for i, p := range b.pieces {
		rows[i] = len(p.rows)
		g.Rows += rows[i]
		for _, m := range p.minutes {
			g.Min, g.Max = min(g.Min, int64(m)), max(g.Max, int64(m))
		}
	}
	if g.Rows == 0 {
		return nil
	}
	for _, f := range w.Fields() {
		cols := make([]*column.Column, len(b.pieces))
		for i, p := range b.pieces {
			var err error
			if cols[i], err = p.column(b.in, f); err != nil {
				return err
			}
		}
		if err := w.WriteColumn(column.Concat(f, cols, rows), g.Rows); err != nil {
			return err
		}
	}
	return w.EndGroup(g)
}

// column is a column of a piece's groups.
func (p *piece) column(in *segment.File, f flow.FieldID) (*column.Column, error) {
	if f == flow.FStart || f == flow.FEnd {
		return &column.Column{Nums: p.minutes}, nil
	}
	if f == segment.Weight {
		return &column.Column{Nums: p.weights}, nil
	}
	for j, c := range query.Counters {
		if c.Delta != f {
			continue
		}
		out := &column.Column{Nums: p.sums[j], Has: make([]byte, len(p.rows))}
		for g, m := range p.has {
			out.Has[g] = byte(m >> j & 1)
		}
		return out, nil
	}
	if !Dim(f) {
		return nil, nil
	}
	c, err := in.Column(p.group, f)
	return column.Gather(c, p.rows), err
}

// writeStraddling writes the records of kind Sole that are in no group.
func (b *builder) writeStraddling(w *segment.Writer) error {
	rows := make([]int, len(b.pieces))
	_, _, g := b.groupsOf(segment.Sole)
	g.Rows, g.Kind = 0, segment.Sole
	for i, p := range b.pieces {
		rows[i] = len(p.straddling)
		g.Rows += rows[i]
	}
	if g.Rows == 0 {
		return nil
	}
	for _, f := range w.Fields() {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		cols := make([]*column.Column, len(b.pieces))
		for i, p := range b.pieces {
			c, err := b.in.Column(p.group, f)
			if err != nil {
				return err
			}
			cols[i] = column.Gather(c, p.straddling)
		}
		if err := w.WriteColumn(column.Concat(f, cols, rows), g.Rows); err != nil {
			return err
		}
	}
	return w.EndGroup(g)
}
