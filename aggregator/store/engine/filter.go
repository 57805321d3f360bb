package engine

import (
	"slices"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// cond says whether connection k of a batch fits.
type cond func(x *batch, k int32) bool

// part is one condition of those that all must hold. A condition on one column has a
// loop of its own.
type part struct {
	match []bool   // by the codes
	codes []uint32 // of the rows
	fn    cond     // without them
}

// filter is a condition made for the dictionaries of one block.
type filter struct {
	r     *run
	b     *column.Block
	never bool // nothing in this block fits
	parts []part
}

func (r *run) filter(b *column.Block) *filter {
	f := &filter{r: r, b: b}
	f.conjunct(r.node)
	return f
}

// conjunct takes a condition apart where all parts must hold.
func (f *filter) conjunct(n query.Node) {
	if all, ok := n.(query.All); ok {
		for _, x := range all {
			f.conjunct(x)
		}
		return
	}
	if t, ok := n.(query.Test); ok && column.KindOf(t.ID) == column.Dict {
		match := f.lookup(t, t.ID)
		if !slices.Contains(match, true) {
			f.never = true
		}
		if col := f.b.Cols[t.ID]; col != nil {
			f.parts = append(f.parts, part{match: match, codes: col.Codes})
			return
		}
	}
	f.parts = append(f.parts, part{fn: f.compile(n)})
}

// keep removes from sel what does not fit. Where the batch has no rows, sel are rows.
func (f *filter) keep(x *batch, sel []int32) []int32 {
	for i := range f.parts {
		p, n := &f.parts[i], 0
		switch {
		case p.fn != nil:
			for _, k := range sel {
				sel[n] = k
				if p.fn(x, k) {
					n++
				}
			}
		case x.rows == nil:
			for _, row := range sel {
				sel[n] = row
				if p.match[p.codes[row]] {
					n++
				}
			}
		default:
			for _, k := range sel {
				sel[n] = k
				if p.match[p.codes[x.rows[k]]] {
					n++
				}
			}
		}
		sel = sel[:n]
	}
	return sel
}

// lookup asks a condition on one column about every value of its dictionary; the first
// answer is for rows without a value.
func (f *filter) lookup(n query.Node, id flow.FieldID) []bool {
	col := f.b.Cols[id]
	if col == nil {
		return []bool{false}
	}
	holds := query.Holds(n)
	match := make([]bool, len(col.Dict)+1)
	var r flow.Record
	for i, s := range col.Dict {
		r.Has = flow.Mask{}
		match[i+1] = r.SetText(id, s) == nil && holds(&r)
	}
	return match
}

func (f *filter) compile(n query.Node) cond {
	switch n := n.(type) {
	case query.All:
		cs := f.list(n)
		return func(x *batch, k int32) bool {
			for _, c := range cs {
				if !c(x, k) {
					return false
				}
			}
			return true
		}
	case query.Any:
		cs := f.list(n)
		return func(x *batch, k int32) bool {
			for _, c := range cs {
				if c(x, k) {
					return true
				}
			}
			return false
		}
	case query.None:
		c := f.compile(n.Node)
		return func(x *batch, k int32) bool { return !c(x, k) }
	case query.Present:
		return f.column(n, n.ID, nil)
	case query.Test:
		return f.column(n, n.ID, n.Matcher)
	default:
		return func(*batch, int32) bool { return false }
	}
}

func (f *filter) list(ns []query.Node) []cond {
	cs := make([]cond, 0, len(ns))
	for _, n := range ns {
		cs = append(cs, f.compile(n))
	}
	return cs
}

// column compiles a condition on one column; a nil matcher asks for presence.
func (f *filter) column(n query.Node, id flow.FieldID, m *query.Matcher) cond {
	if id == flow.FFirst {
		return func(x *batch, k int32) bool {
			return x.first[k] != 0 && (m == nil || m.Bool == (x.first[k] == 2))
		}
	}
	for j, c := range f.r.counters {
		if query.Counters[c].Total == id {
			return func(x *batch, k int32) bool { return x.has[k]&(1<<j) != 0 && (m == nil || m.Uint(x.sums[j][k])) }
		}
	}
	col := f.b.Cols[id]
	if col == nil {
		return func(*batch, int32) bool { return false }
	}
	if column.KindOf(id) == column.Dict {
		match, codes := f.lookup(n, id), col.Codes
		return func(x *batch, k int32) bool { return match[codes[x.row(k)]] }
	}
	return number(id, col, m)
}

func number(id flow.FieldID, col *column.Column, m *query.Matcher) cond {
	fits := func(uint64) bool { return true }
	switch {
	case m == nil:
	case m.Kind == query.KindBool:
		fits = func(v uint64) bool { return m.Bool == (v != 0) }
	case column.Signed(id):
		fits = func(v uint64) bool { return m.Int(int64(v)) }
	case len(m.Uints) == 1 && m.Kind != query.KindBits:
		lo, hi := m.Uints[0].Lo, m.Uints[0].Hi
		fits = func(v uint64) bool { return v >= lo && v <= hi }
	default:
		fits = m.Uint
	}
	return func(x *batch, k int32) bool {
		v, ok := num(col, x.row(k))
		return ok && fits(v)
	}
}
