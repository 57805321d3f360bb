package engine

import (
	"slices"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/rollup"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// A request with Visible is answered as if records without an end in its namespaces were
// not there, and as if what it hides of the others had never been told. The first is a
// matter of rows (own). For the second, the connections of a unit are taken apart by which
// of their ends is foreign (views), and each part sees a block without the hidden columns,
// so that conditions, groups and aggregates need not know of it.

// ends are the fields that say whose a record is.
var ends = [...]flow.FieldID{flow.FSrcNS, flow.FDstNS}

// foreign says which ends of a connection are not the reader's; both ends are not of one
// that he does not see.
type foreign uint8

const (
	foreignSrc foreign = 1 << iota
	foreignDst
)

// hides reports whether a condition on these fields may hold otherwise once they are
// masked.
func hides(m *flow.Mask) bool {
	for f := range flow.FieldID(flow.NumFields) {
		if m.Has(f) && (flow.Exposures[f] != flow.ExposeAlways || f == flow.FDstPort) {
			return true
		}
	}
	return false
}

// sides says of each row of a block which ends are foreign.
func sides(b *column.Block, v *flow.Visibility) func(row int32) foreign {
	src, dst := ownCodes(b.Cols[flow.FSrcNS], v), ownCodes(b.Cols[flow.FDstNS], v)
	return func(row int32) (f foreign) {
		if src == nil || !src[b.Cols[flow.FSrcNS].Codes[row]] {
			f |= foreignSrc
		}
		if dst == nil || !dst[b.Cols[flow.FDstNS].Codes[row]] {
			f |= foreignDst
		}
		return f
	}
}

// ownCodes says of each code of a column of namespaces whether it is one of v's; nil where
// none is.
func ownCodes(c *column.Column, v *flow.Visibility) (out []bool) {
	if c == nil || c.Codes == nil {
		return nil
	}
	for i, s := range c.Dict {
		if v.Has(s) {
			if out == nil {
				out = make([]bool, len(c.Dict)+1)
			}
			out[i+1] = true
		}
	}
	return out
}

// listedOf lists the rows of a block of unit u that belong to each step and that the reader
// sees.
func (r *run) listedOf(u int, b *column.Block) (lo int, lists [][]int32, err error) {
	lo, lists = r.items(b)
	if r.req.Visible == nil {
		return lo, lists, nil
	}
	of := sides(b, r.req.Visible)
	for k, list := range lists {
		lists[k] = slices.DeleteFunc(list, func(row int32) bool { return of(row) == foreignSrc|foreignDst })
	}
	return lo, lists, r.count(u, lists)
}

// count notes how many records of a unit the reader sees, once.
func (r *run) count(u int, lists [][]int32) error {
	if r.counted[u] {
		return nil
	}
	r.counted[u] = true
	var weights *column.Column
	if r.sums(u) {
		b, err := r.block(u, []flow.FieldID{segment.Weight})
		if b == nil || err != nil {
			return err
		}
		weights = b.Cols[segment.Weight]
	}
	seen := map[int32]bool{} // a record may belong to several steps
	for _, list := range lists {
		for _, row := range list {
			if len(lists) > 1 {
				if seen[row] {
					continue
				}
				seen[row] = true
			}
			n := uint64(1)
			if weights != nil {
				n = weights.Nums[row]
			}
			r.own.Add(n)
		}
	}
	return nil
}

// view is a part of a unit's connections, and what may be seen of it.
type view struct {
	block *column.Block
	lo    int // step of the first list
	lists [][]int32
	over  []override
}

// views takes the connections of a unit with this block apart.
func (r *run) views(b *column.Block, all view) []view {
	if r.req.Visible == nil {
		all.block = b
		return []view{all}
	}
	of := sides(b, r.req.Visible)
	var out []view
	for _, f := range []foreign{0, foreignSrc, foreignDst} {
		v := view{lo: all.lo, lists: make([][]int32, len(all.lists))}
		n := 0
		for k, list := range all.lists {
			for _, row := range list {
				if of(row) == f {
					v.lists[k] = append(v.lists[k], row)
					n++
				}
			}
		}
		for _, o := range all.over {
			if of(o.row) == f {
				v.over = append(v.over, o)
				n++
			}
		}
		if n > 0 {
			v.block = masked(b, f)
			out = append(out, v)
		}
	}
	return out
}

// masked is flow.Visibility.Mask of a block whose rows have these ends foreign.
func masked(b *column.Block, f foreign) *column.Block {
	out := *b
	if f&foreignDst != 0 {
		out.Cols[flow.FDstPort] = preferring(b.Cols[flow.FSvcPort], b.Cols[flow.FDstPort])
	}
	for id := range flow.FieldID(flow.NumFields) {
		switch flow.Exposures[id] {
		case flow.ExposeAlways:
			continue
		case flow.ExposeSource:
			if f&foreignSrc == 0 {
				continue
			}
		case flow.ExposeTarget:
			if f&foreignDst == 0 {
				continue
			}
		case flow.ExposeBoth:
			if f == 0 {
				continue
			}
		default:
		}
		out.Cols[id] = nil
	}
	return &out
}

// preferring is a column of numbers with the values of another where it has none.
func preferring(top, below *column.Column) *column.Column {
	if top == nil || below == nil || top.Has == nil {
		if top != nil {
			return top
		}
		return below
	}
	out := &column.Column{Nums: slices.Clone(top.Nums), Has: slices.Clone(top.Has)}
	for i := range out.Nums {
		if v, ok := num(below, int32(i)); ok && out.Has[i] == 0 {
			out.Nums[i], out.Has[i] = v, 1
		}
	}
	return out
}

// groupsTell reports whether sums by minute tell what may be seen: they have the
// namespaces of both ends, and the port that was dialled.
func groupsTell() bool {
	return rollup.Dim(flow.FSrcNS) && rollup.Dim(flow.FDstNS) && rollup.Dim(flow.FSvcPort)
}

// plain reports whether a condition holds of a record as of its connection, whatever is
// folded or hidden.
func (r *run) plain(n query.Node) bool {
	var m flow.Mask
	r.wants(n, &m)
	folded := m.Has(flow.FFirst) || r.req.Visible != nil && hides(&m)
	for _, c := range query.Counters {
		folded = folded || m.Has(c.Total)
	}
	return !folded
}
