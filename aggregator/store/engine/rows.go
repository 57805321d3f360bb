package engine

import (
	"slices"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// batch are the connections of one unit and one step: their newest records' rows, and what
// is not the record's own.
type batch struct {
	b       *column.Block
	step    int
	rows    []int32
	weights []uint64   // of the block's rows: how many connections each stands for; nil for one
	first   []byte     // 0 absent, 1 false, 2 true
	has     []uint16   // which of run.counters are there
	sums    [][]uint64 // of each of run.counters
}

// row is the row of connection k.
func (x *batch) row(k int32) int32 {
	if x.rows == nil {
		return k
	}
	return x.rows[k]
}

// weight is how many connections connection k stands for.
func (x *batch) weight(k int32) uint64 {
	if x.weights == nil {
		return 1
	}
	return x.weights[x.rows[k]]
}

func (x *batch) reset(b *column.Block, step, counters int) {
	x.b, x.step, x.weights = b, step, nil
	x.rows, x.first, x.has = x.rows[:0], x.first[:0], x.has[:0]
	for len(x.sums) < counters {
		x.sums = append(x.sums, nil)
	}
	for j := range x.sums {
		x.sums[j] = x.sums[j][:0]
	}
}

// batches gives fn the connections whose newest record is in a unit, step by step.
func (r *run) batches(u int, x *batch, fn func(*batch) error) error {
	over := r.over[u]
	lo, lists := r.lists[u].lo, r.lists[u].rows
	if r.alone(u) {
		var err error
		if lo, lists, err = r.probe1(u); err != nil {
			return err
		}
	}
	if len(over) == 0 && empty(lists) {
		return nil
	}
	fields := r.fewer(u, r.all)
	if r.sums(u) {
		fields = append(slices.Clone(fields), segment.Weight)
	}
	b, err := r.block(u, fields)
	if b == nil || err != nil {
		return err
	}
	slices.SortFunc(over, func(a, o override) int { return int(a.step) - int(o.step) })
	for _, v := range r.views(b, view{nil, lo, lists, over}) {
		if err := r.steply(u, x, &v, fn); err != nil {
			return err
		}
	}
	return nil
}

// sums says that the rows of a unit stand for several connections each.
func (r *run) sums(u int) bool { return u < r.view.Len() && r.view.Kind(u) == segment.Groups }

// steply gives fn the connections of a view, step by step.
func (r *run) steply(u int, x *batch, v *view, fn func(*batch) error) error {
	over := v.over
	for k, list := range v.lists {
		step := v.lo + k
		x.reset(v.block, step, len(r.counters))
		if r.sums(u) {
			x.weights = v.block.Cols[segment.Weight].Nums
		}
		x.rows = append(x.rows, list...)
		r.shares(x, r.inside(u))
		for len(over) > 0 && int(over[0].step) == step {
			x.add(r, &over[0])
			over = over[1:]
		}
		if len(x.rows) > 0 {
			if err := fn(x); err != nil {
				return err
			}
		}
	}
	return nil
}

// probe1 lists the rows of a unit that fit what a record alone decides, of those that belong
// to each step.
func (r *run) probe1(u int) (lo int, lists [][]int32, err error) {
	b, err := r.block(u, r.fewer(u, r.alike))
	if b == nil || err != nil {
		return 0, nil, err
	}
	f := &filter{r: r, b: b}
	f.conjunct(r.static)
	if f.never && r.req.Visible == nil { // else its rows are counted
		return 0, nil, nil
	}
	if lo, lists, err = r.listedOf(u, b); err != nil {
		return 0, nil, err
	}
	for k, list := range lists {
		lists[k] = f.keep(&batch{b: b, step: lo + k}, list)
	}
	return lo, lists, nil
}

func empty(lists [][]int32) bool {
	for _, l := range lists {
		if len(l) > 0 {
			return false
		}
	}
	return true
}

// shares fills in what the rows of one record have: the shares of their deltas, which are
// the deltas where the unit is inside the range.
func (r *run) shares(x *batch, inside bool) {
	n := len(x.rows)
	step := r.steps[x.step]
	since, end := x.b.Cols[flow.FSince], x.b.Cols[flow.FEnd]
	x.has = append(x.has, make([]uint16, n)...)
	for j, c := range r.counters {
		out := slices.Grow(x.sums[j][:0], n)[:n]
		clear(out)
		x.sums[j] = out
		col := x.b.Cols[query.Counters[c].Delta]
		if col == nil {
			continue
		}
		for k, i := range x.rows {
			v, ok := num(col, i)
			if !ok {
				continue
			}
			x.has[k] |= 1 << j
			if from, to := covered(since, end, i); !inside && (from < step[0] || to > step[1]) {
				v = query.Share(v, from, to, step[0], step[1])
			}
			out[k] = v
		}
	}
	if !r.first {
		return
	}
	for _, i := range x.rows {
		from, _ := covered(since, end, i)
		x.first = append(x.first, firstOf(x.b, i, openedIn(x.b, i, from, step), step))
	}
}

// firstOf is what Folder.Rows makes of the field first.
func firstOf(b *column.Block, i int32, opened bool, step [2]int64) byte {
	start, started := num(b.Cols[flow.FStart], i)
	_, told := num(b.Cols[flow.FFirst], i)
	switch {
	case !opened && !started && !told:
		return 0
	case opened && (!started || int64(start) >= step[0] && int64(start) < step[1]):
		return 2
	}
	return 1
}

func (x *batch) add(r *run, o *override) {
	x.rows = append(x.rows, o.row)
	x.has = append(x.has, o.has)
	for j := range r.counters {
		x.sums[j] = append(x.sums[j], o.sums[j])
	}
	if r.first {
		x.first = append(x.first, firstOf(x.b, o.row, o.opened, r.steps[x.step]))
	}
}
