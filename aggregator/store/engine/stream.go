package engine

import (
	"cmp"
	"context"
	"math"
	"slices"
	"unsafe"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/api/flow"
)

// streamAtOnce is how many records are made of columns at a time.
const streamAtOnce = 1 << 13

// inOrder is the order of query.Answer: the newest end first, then by number. Where the
// reader is confined numbers are hidden, and the place decides.
func inOrder(a, b found) int {
	return cmp.Or(cmp.Compare(b.end, a.end), cmp.Compare(a.conn, b.conn), byNewest(a, b))
}

// Stream gives emit the connections that fit, as List does, but holds neither them nor
// what it found of them: it goes through the history from its newest end, and waits where
// emit does. Those that end together come by number. Of each it fills the fields named,
// and what a mask needs. It works on one core, and holds what ends in about one row
// group at a time besides the connections that have several records. An error of emit
// ends it and is returned.
func Stream(ctx context.Context, s *store.Store, req *Request, fields []flow.FieldID, emit func(*flow.Record) error) (store.Scanned, error) {
	r, err := prepare(s, req, true)
	if err != nil {
		return store.Scanned{}, err
	}
	err = r.stream(ctx, fields, emit)
	return r.done(), err
}

func (r *run) stream(ctx context.Context, fields []flow.FieldID, emit func(*flow.Record) error) error {
	r.numbered = r.req.Visible == nil
	fields = append(slices.Clone(fields), flow.FEnd, flow.FConnID, flow.FSrcNS, flow.FDstNS, flow.FSvcPort)
	slices.Sort(fields)
	fields = slices.Compact(fields)
	if err := r.reading(); err != nil {
		return err
	}
	if err := r.foldAll(ctx); err != nil {
		return err
	}
	units := make([]int, r.units())
	for u := range units {
		units[u] = u
	}
	slices.SortFunc(units, func(a, b int) int { return cmp.Compare(r.newest(b), r.newest(a)) })
	var wait []found // what ends after the units that are still to come
	held := 0
	for i, u := range units {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		list, err := r.found(u)
		if err != nil {
			return err
		}
		r.lists[u] = listed{}
		wait = append(wait, list...)
		n := (cap(wait) + cap(list)) * int(unsafe.Sizeof(found{}))
		if err := r.hold(n - held); err != nil {
			return err
		}
		held = n
		slices.SortFunc(wait, inOrder)
		next := int64(math.MinInt64)
		if i+1 < len(units) {
			next = r.newest(units[i+1])
		}
		ready := len(wait)
		if next != math.MinInt64 {
			ready, _ = slices.BinarySearchFunc(wait, next, func(f found, t int64) int { return cmp.Compare(t, f.end) })
		}
		for ; ready > 0; ready -= min(ready, streamAtOnce) {
			n := min(ready, streamAtOnce)
			if err := r.emit(ctx, wait[:n], fields, emit); err != nil {
				return err
			}
			wait = wait[n:]
		}
		wait = slices.Clone(wait) // not what is gone before it
	}
	return nil
}

// newest is the latest end of a unit's records, ms; the least there is where it has none.
func (r *run) newest(u int) int64 {
	if u < r.view.Len() {
		_, hi := r.view.Span(u)
		return hi
	}
	if r.live.Rows == 0 {
		return math.MinInt64
	}
	return r.live.Max
}
