package engine

import (
	"context"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// table answers the stats stage.
func (r *run) table(ctx context.Context) (*query.Table, error) {
	tables, err := r.tables(ctx, []*query.Stats{r.stats})
	if err != nil {
		return nil, err
	}
	return tables[0], nil
}

// tables answers several stages, of which r.stats has all fields.
func (r *run) tables(ctx context.Context, stages []*query.Stats) ([]*query.Table, error) {
	if err := r.reading(); err != nil {
		return nil, err
	}
	if err := r.foldAll(ctx); err != nil {
		return nil, err
	}
	workers := make([]groupers, r.units())
	err := r.each(ctx, func(w, u int) error {
		if workers[w] == nil {
			for _, st := range stages {
				workers[w] = append(workers[w], newGrouper(r, st))
			}
		}
		if err := workers[w].unit(u); err != nil {
			return err
		}
		for _, g := range workers[w] {
			if err := g.hold(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []*query.Table
	for k, st := range stages {
		t := query.NewTable(st, r.req.MaxGroups)
		for _, gs := range workers {
			if gs == nil {
				continue
			}
			if err := r.hold(gs[k].held); err != nil { // the groups of the table
				return nil, err
			}
			if err := gs[k].into(t); err != nil {
				return nil, err
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// acc is query.Acc without what most aggregates do not need.
type acc struct {
	n, uncounted uint64
	sum          query.Wide
	lo, hi       query.Wide
	ext          *query.Acc // sketch or distinct
}

// grouper is one worker's groups.
type grouper struct {
	r     *run
	x     batch
	sel   []int32
	ids   []int32 // group of each selected connection
	aggs  []query.Aggregate
	by    []*key
	steps map[uint64]uint32 // step to number of the first link of its groups
	links []map[uint64]uint32
	tuple []groupKey // of each group
	accs  []acc      // groups times aggregates
	text  []byte

	block  *column.Block
	filter *filter
	memo   []int32 // group by the codes of the block, from 1; -1 not looked up
	hashes [][]uint64
	held   int // bytes
}

// hold takes the memory that the groups have come to need.
func (g *grouper) hold() error {
	n := len(g.tuple)*(64+48*len(g.by)) + len(g.accs)*int(unsafe.Sizeof(acc{}))
	for i := range g.accs {
		x := g.accs[i].ext
		if x == nil {
			continue
		}
		if n += 256; x.Sketch != nil {
			n += 32 * (len(x.Sketch.Positive) + len(x.Sketch.Negative))
		}
		if x.Distinct != nil {
			n += 24*len(x.Distinct.Hashes) + len(x.Distinct.Registers)
		}
	}
	err := g.r.hold(n - g.held)
	g.held = n
	return err
}

// groupKey is a group's step and its values' numbers.
type groupKey struct {
	step int32
	ids  []uint32
}

// key numbers the values of one field of the group by.
type key struct {
	f     query.Field
	text  map[string]uint32
	nums  map[uint64]uint32
	cells []query.Cell
	codes []uint32 // number of each value of the block's dictionary
	known []bool
}

func newGrouper(r *run, st *query.Stats) *grouper {
	g := &grouper{r: r, aggs: st.Aggs, steps: map[uint64]uint32{}}
	for _, f := range st.By {
		g.by = append(g.by, &key{f: f, text: map[string]uint32{}, nums: map[uint64]uint32{}, cells: []query.Cell{{}}})
		g.links = append(g.links, map[uint64]uint32{})
	}
	return g
}

// groupers group the same connections in several ways.
type groupers []*grouper

func (gs groupers) unit(u int) error {
	lead := gs[0]
	return lead.r.batches(u, &lead.x, func(x *batch) error {
		if lead.block != x.b {
			f := lead.r.filter(x.b)
			for _, g := range gs {
				g.open(x.b, f)
			}
		}
		if lead.filter.never {
			return nil
		}
		lead.sel = lead.sel[:0]
		for k := range x.rows {
			lead.sel = append(lead.sel, int32(k))
		}
		lead.sel = lead.filter.keep(x, lead.sel)
		if len(lead.sel) == 0 {
			return nil
		}
		for _, g := range gs {
			g.sel = lead.sel
			if err := g.group(x); err != nil {
				return err
			}
			for i := range g.aggs {
				g.aggregate(x, i)
			}
		}
		return nil
	})
}

// open prepares for the dictionaries of a block, for which the filter was made.
func (g *grouper) open(b *column.Block, f *filter) {
	g.block, g.filter = b, f
	for _, k := range g.by {
		k.codes, k.known = nil, nil
		if c := b.Cols[k.f.IDs[0]]; c != nil && c.Codes != nil {
			k.codes, k.known = make([]uint32, len(c.Dict)+1), make([]bool, len(c.Dict)+1)
			k.known[0] = true
		}
	}
	g.hashes = make([][]uint64, len(g.aggs))
	g.memo = nil
	if n := g.radix(); n > 0 {
		g.memo = make([]int32, n)
	}
}

// maxMemo bounds the table from codes to groups.
const maxMemo = 1 << 20

// radix is the number of combinations of the block's codes, 0 where they are too many or
// a field has none.
func (g *grouper) radix() int {
	n := 1
	for _, k := range g.by {
		if k.codes == nil {
			return 0
		}
		if n *= len(k.codes); n > maxMemo {
			return 0
		}
	}
	return n
}

// group finds the group of every selected connection.
func (g *grouper) group(x *batch) error {
	g.ids = g.ids[:0]
	for i := range g.memo {
		g.memo[i] = 0
	}
	for _, k := range g.sel {
		row := x.rows[k]
		if g.memo != nil {
			at := 0
			for _, b := range g.by {
				at = at*len(b.codes) + int(x.b.Cols[b.f.IDs[0]].Codes[row])
			}
			if g.memo[at] == 0 {
				id, err := g.find(x, k)
				if err != nil {
					return err
				}
				g.memo[at] = id + 1
			}
			g.ids = append(g.ids, g.memo[at]-1)
			continue
		}
		id, err := g.find(x, k)
		if err != nil {
			return err
		}
		g.ids = append(g.ids, id)
	}
	return nil
}

// find looks a group up, a new one where there is none.
func (g *grouper) find(x *batch, k int32) (int32, error) {
	var few [20]uint32
	ids := few[:0]
	link := uint64(x.step)
	for j, b := range g.by {
		id := g.value(b, x, k)
		ids = append(ids, id)
		at := link<<32 | uint64(id)
		n, ok := g.links[j][at]
		if !ok {
			n = uint32(len(g.links[j]))
			if j == len(g.by)-1 {
				if err := g.add(x.step, ids); err != nil {
					return 0, err
				}
				n = uint32(len(g.tuple) - 1)
			}
			g.links[j][at] = n
		}
		link = uint64(n)
	}
	if len(g.by) > 0 {
		return int32(link), nil
	}
	n, ok := g.steps[link]
	if !ok {
		if err := g.add(x.step, ids); err != nil {
			return 0, err
		}
		n = uint32(len(g.tuple) - 1)
		g.steps[link] = n
	}
	return int32(n), nil
}

func (g *grouper) add(step int, ids []uint32) error {
	if len(g.tuple) >= g.r.req.MaxGroups {
		return query.ErrGroups
	}
	g.tuple = append(g.tuple, groupKey{int32(step), append([]uint32(nil), ids...)})
	g.accs = append(g.accs, make([]acc, len(g.aggs))...)
	return nil
}

// value numbers the value that a connection has in a field of the group by; 0 is absent.
func (g *grouper) value(b *key, x *batch, k int32) uint32 {
	id := b.f.IDs[0]
	if v, ok, derived := g.derived(x, k, id); derived {
		if !ok {
			return 0
		}
		return g.numbered(b, id, v)
	}
	col := x.b.Cols[id]
	if col == nil {
		return 0
	}
	if col.Codes == nil {
		v, ok := num(col, x.rows[k])
		if !ok {
			return 0
		}
		return g.numbered(b, id, v)
	}
	code := col.Codes[x.rows[k]]
	if !b.known[code] {
		b.known[code] = true
		s, ok := col.Dict[code-1], true
		if b.f.Label != "" {
			s, ok = query.Label(s, b.f.Label)
		}
		if ok {
			b.codes[code] = b.number(s)
		}
	}
	return b.codes[code]
}

// derived gives the value of a field that is not the record's own in a range: the totals
// and first.
func (g *grouper) derived(x *batch, k int32, id flow.FieldID) (v uint64, ok, derived bool) {
	if id == flow.FFirst {
		return uint64(x.first[k] >> 1), x.first[k] != 0, true
	}
	for j, c := range g.r.counters {
		if query.Counters[c].Total == id {
			return x.sums[j][k], x.has[k]&(1<<j) != 0, true
		}
	}
	return 0, false, false
}

func (b *key) number(s string) uint32 {
	n, ok := b.text[s]
	if !ok {
		n = uint32(len(b.cells))
		b.cells = append(b.cells, query.Cell{Text: s, Present: true})
		b.text[s] = n
	}
	return n
}

func (g *grouper) numbered(b *key, id flow.FieldID, v uint64) uint32 {
	n, ok := b.nums[v]
	if !ok {
		var r flow.Record
		column.SetNumber(&r, id, v)
		n = b.number(r.Text(id))
		b.nums[v] = n
	}
	return n
}

// aggregate adds the selected connections to aggregate i of their groups.
func (g *grouper) aggregate(x *batch, i int) {
	a, step := &g.aggs[i], len(g.aggs)
	switch a.Func {
	case query.Active:
		for n, id := range g.ids {
			g.accs[int(id)*step+i].n += x.weight(g.sel[n])
		}
		return
	case query.Conns:
		for n, k := range g.sel {
			if x.first[k] == 2 {
				g.accs[int(g.ids[n])*step+i].n += x.weight(k)
			}
		}
		return
	case query.Uniq:
		g.uniq(x, i)
		return
	default:
	}
	id := a.Field.IDs[0]
	signed := column.Signed(id)
	col := x.b.Cols[id]
	for n, k := range g.sel {
		c := &g.accs[int(g.ids[n])*step+i]
		v, ok, derived := g.derived(x, k, id)
		if !derived {
			v, ok = num(col, x.rows[k])
		}
		if !ok {
			c.uncounted += x.weight(k)
			continue
		}
		w := query.WideUint(v)
		if signed {
			w = query.WideInt(int64(v))
		}
		c.add(a.Func, w, x.weight(k))
	}
}

// add counts a value, which is the sum of so many connections'.
func (c *acc) add(fn query.Func, w query.Wide, conns uint64) {
	switch fn {
	case query.Sum, query.Rate:
		c.sum = c.sum.Plus(w)
	case query.Min, query.Max:
		if c.n == 0 {
			c.lo, c.hi = w, w
			break
		}
		if w.Compare(c.lo) < 0 {
			c.lo = w
		}
		if w.Compare(c.hi) > 0 {
			c.hi = w
		}
	default:
		if c.ext == nil {
			c.ext = &query.Acc{}
		}
		c.ext.Add(fn, w)
	}
	c.n += conns
}

// uniq counts distinct values by the hash of their text, which each value of a dictionary
// has worked out once.
func (g *grouper) uniq(x *batch, i int) {
	f := g.aggs[i].Field
	id := f.IDs[0]
	col := x.b.Cols[id]
	var r flow.Record
	for n, k := range g.sel {
		c := &g.accs[int(g.ids[n])*len(g.aggs)+i]
		v, ok, derived := g.derived(x, k, id)
		if !derived && col != nil && col.Codes != nil {
			h, ok := g.textHash(i, col, col.Codes[x.rows[k]])
			c.distinct(h, ok, x.weight(k))
			continue
		}
		if !derived {
			v, ok = num(col, x.rows[k])
		}
		if !ok {
			c.uncounted += x.weight(k)
			continue
		}
		column.SetNumber(&r, id, v)
		g.text = r.AppendText(g.text[:0], id)
		c.distinct(xxhash.Sum64(g.text), true, x.weight(k))
	}
}

func (c *acc) distinct(h uint64, ok bool, conns uint64) {
	if !ok {
		c.uncounted += conns
		return
	}
	c.n += conns
	if c.ext == nil {
		c.ext = &query.Acc{Distinct: &query.Distinct{}}
	}
	c.ext.Distinct.AddHash(h)
}

// textHash is the hash of a value of a dictionary; false where it has no such label, or
// the row no value.
func (g *grouper) textHash(i int, col *column.Column, code uint32) (uint64, bool) {
	if g.hashes[i] == nil {
		g.hashes[i] = make([]uint64, 2*(len(col.Dict)+1))
		for c, s := range col.Dict {
			ok := true
			if l := g.aggs[i].Field.Label; l != "" {
				s, ok = query.Label(s, l)
			}
			if ok {
				g.hashes[i][2*c+2], g.hashes[i][2*c+3] = xxhash.Sum64String(s), 1
			}
		}
	}
	return g.hashes[i][2*code], g.hashes[i][2*code+1] == 1
}

// into adds the groups to a table.
func (g *grouper) into(t *query.Table) error {
	cells := make([]query.Cell, len(g.by))
	for n := range g.tuple {
		for j, id := range g.tuple[n].ids {
			cells[j] = g.by[j].cells[id]
		}
		step := int64(0)
		if g.r.every > 0 {
			step = g.r.steps[g.tuple[n].step][0]
		}
		group, err := t.Group(step, cells)
		if err != nil {
			return err
		}
		for i := range g.aggs {
			a := g.accs[n*len(g.aggs)+i].whole(g.aggs[i].Func)
			group.Accs[i].Merge(&a)
		}
	}
	return nil
}

func (c *acc) whole(fn query.Func) query.Acc {
	a := query.Acc{N: c.n, Uncounted: c.uncounted}
	if c.ext != nil {
		a.Sketch, a.Distinct = c.ext.Sketch, c.ext.Distinct
	}
	if c.n == 0 {
		return a
	}
	switch fn {
	case query.Sum, query.Rate:
		a.Sum = &c.sum
	case query.Min:
		a.Min = &c.lo
	case query.Max:
		a.Max = &c.hi
	default:
	}
	return a
}
