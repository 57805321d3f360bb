package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// found is a connection that fits.
type found struct {
	end       int64
	conn      uint64 // where the order asks for it
	unit, row int32
	first     byte
	has       uint16
	sums      [len(query.Counters)]uint64
}

func byNewest(a, b found) int {
	return cmp.Or(cmp.Compare(b.end, a.end), cmp.Compare(b.unit, a.unit), cmp.Compare(b.row, a.row))
}

// List gives emit the connections that fit, newest end first, up to limit (0 for all, up to
// MaxConns), as query.Fold makes them. More says that there were others. An error of
// emit ends it; store.ErrStop ends it without one. The record is the callee's until it returns.
func List(ctx context.Context, s *store.Store, req *Request, limit int, emit func(*flow.Record) error) (more bool, sc store.Scanned, err error) {
	r, err := prepare(s, req, true)
	if err != nil {
		return false, sc, err
	}
	more, err = r.list(ctx, limit, emit)
	if errors.Is(err, store.ErrStop) {
		err = nil
	}
	return more, r.done(), err
}

func (r *run) list(ctx context.Context, limit int, emit func(*flow.Record) error) (more bool, err error) {
	if err := r.reading(); err != nil {
		return false, err
	}
	if err := r.foldAll(ctx); err != nil {
		return false, err
	}
	bound := r.req.MaxConns
	if limit > 0 {
		bound = min(bound, limit)
	}
	var mu sync.Mutex
	var all []found
	held := 0
	err = r.each(ctx, func(_, u int) error {
		list, err := r.found(u)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if all = append(all, list...); len(all) > 2*bound {
			slices.SortFunc(all, byNewest)
			all, more = all[:bound], true
		}
		n := cap(all) * int(unsafe.Sizeof(found{}))
		err = r.hold(n - held)
		held = n
		return err
	})
	if err != nil {
		return false, err
	}
	slices.SortFunc(all, byNewest)
	if len(all) > bound {
		all, more = all[:bound], true
	}
	for len(all) > 0 {
		n := min(emitAtOnce, len(all))
		if err := r.emit(ctx, all[:n], flow.AllFields(), emit); err != nil {
			return more, err
		}
		all = all[n:]
	}
	return more, nil
}

// emitAtOnce bounds the records that are made of columns at a time.
const emitAtOnce = 4096

// found lists the connections of a unit that fit.
func (r *run) found(u int) (list []found, err error) {
	var x batch
	var f *filter
	err = r.batches(u, &x, func(x *batch) error {
		if f == nil || f.b != x.b {
			f = r.filter(x.b)
		}
		sel := make([]int32, len(x.rows))
		for k := range sel {
			sel[k] = int32(k)
		}
		for _, k := range f.keep(x, sel) {
			row := x.rows[k]
			_, end := covered(nil, x.b.Cols[flow.FEnd], row)
			o := found{end: end, unit: int32(u), row: row, first: x.first[k], has: x.has[k]}
			if r.numbered {
				o.conn, _ = num(x.b.Cols[flow.FConnID], row)
			}
			for j, c := range r.counters {
				o.sums[c] = x.sums[j][k]
			}
			list = append(list, o)
		}
		return nil
	})
	return list, err
}

// emit makes records with these fields of what was found. Of each unit it reads a column at a
// time, and keeps the rows that were found.
func (r *run) emit(ctx context.Context, all []found, fields []flow.FieldID, emit func(*flow.Record) error) error {
	rows := map[int32][]int32{}
	at := make([]int32, len(all))
	for i := range all {
		u := all[i].unit
		at[i] = int32(len(rows[u]))
		rows[u] = append(rows[u], all[i].row)
	}
	blocks := map[int32]*column.Block{}
	for u, list := range rows {
		b, err := r.gathered(ctx, int(u), list, fields)
		if err != nil {
			return err
		}
		blocks[u] = b
	}
	var rec flow.Record
	for i := range all {
		o := &all[i]
		b := blocks[o.unit]
		if b == nil {
			continue // damaged since
		}
		if err := b.Record(int(at[i]), nil, &rec); err != nil {
			return err
		}
		for c, t := range query.Counters {
			rec.SetCounter(t.Total, o.sums[c])
			if o.has&(1<<c) == 0 {
				rec.Has.Clear(t.Total)
			}
		}
		if o.first != 0 {
			rec.SetFirst(o.first == 2)
		}
		r.req.Visible.Mask(&rec)
		if err := emit(&rec); err != nil {
			return err
		}
	}
	return nil
}

// gathered reads rows of a unit; nil where its segment is damaged.
func (r *run) gathered(ctx context.Context, u int, rows []int32, fields []flow.FieldID) (*column.Block, error) {
	out := &column.Block{Rows: len(rows)}
	for _, f := range fields {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		b, err := r.columns(u, []flow.FieldID{f})
		if b == nil || err != nil {
			return nil, err
		}
		out.Cols[f] = column.Gather(b.Cols[f], rows)
	}
	return out, nil
}

// Value is a value of a field in a range.
type Value struct {
	Text  string
	Conns uint64 // connections alive in the range that have it
}

// ValueRequest asks for values of a field.
type ValueRequest struct {
	Request
	Field  query.Field
	Prefix string // only those that begin with it, without regard to case
	N      int    // at most so many, those with the most connections
}

// Values gives the values that a field has in the range among the connections that the
// request's condition fits.
func Values(ctx context.Context, s *store.Store, req *ValueRequest) ([]Value, store.Scanned, error) {
	sum := map[string]uint64{}
	var sc store.Scanned
	for _, id := range req.Field.IDs {
		one := req.Request
		one.Query = &query.Query{Expr: req.Query.Expr, Stages: []query.Stage{&query.Stats{
			Aggs: []query.Aggregate{{Func: query.Active}},
			By:   []query.Field{{Name: flow.Fields[id].Name, IDs: []flow.FieldID{id}, Label: req.Field.Label}},
		}}}
		t, more, err := Stats(ctx, s, &one)
		if err != nil {
			return nil, more, err
		}
		sc = more
		for _, g := range t.Groups() {
			if c := g.Key[0]; c.Present && len(c.Text) >= len(req.Prefix) && strings.EqualFold(c.Text[:len(req.Prefix)], req.Prefix) {
				sum[c.Text] += g.Accs[0].N
			}
		}
	}
	list := make([]Value, 0, len(sum))
	for s, c := range sum {
		list = append(list, Value{s, c})
	}
	slices.SortFunc(list, func(a, b Value) int { return cmp.Or(cmp.Compare(b.Conns, a.Conns), cmp.Compare(a.Text, b.Text)) })
	return list[:min(req.N, len(list))], sc, nil
}
