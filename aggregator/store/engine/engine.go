// Package engine answers queries from the history: conditions, groups and aggregates over
// columns, with the meaning that package query gives them.
//
// In: a parsed query, a range, the history and what is live besides. Out: a query.Table
// that merges with other aggregators', or connections, newest first, and what was
// looked at. A row is one connection in the range, or in a step of it. Most have one
// record there: those are found with a filter of bits and never folded. The rest are
// folded by connection, keeping their newest record and their sums. Conditions on text
// and addresses are evaluated once for each value of a dictionary.
//
// A query works on all cores, ends with its context, and is bounded: in groups, in
// connections that need folding, and in memory by both. It keeps nothing.
package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/weirnet/weir/aggregator/store"
	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
)

// Request is a query and where it looks.
type Request struct {
	Query        *query.Query
	Since, Until int64 // ms, Until exclusive
	// Live gives what no segment and no recent row has: not told yet by the correlator. See store.Plan.
	Live func() []*flow.Record
	// Visible confines the answer, see query.Answer; nil for all. What is scanned counts
	// then only what it sees, whatever stands for it on the disk.
	Visible   *flow.Visibility
	MaxGroups int  // 0 for DefaultGroups
	MaxConns  int  // connections held at once; 0 for DefaultConns
	NoRollups bool // answer from the records alone
}

// The bounds of a query that names none.
const (
	DefaultGroups = 100_000
	DefaultConns  = 4 << 20
)

// ErrConns is the error of a query that would hold too many connections at once.
var ErrConns = errors.New("too many connections with several records in the range: take a shorter range or a longer step")

// run is one query while it is answered.
type run struct {
	req    Request
	view   *store.View
	live   *column.Block
	steps  [][2]int64
	every  int64 // ms; 0 for none
	first0 int64 // begin of the grid of steps
	node   query.Node
	stats  *query.Stats

	counters []int // of query.Counters, which are needed
	times    bool  // since or end are asked for
	first    bool  // whether a connection was opened in the range is needed
	base     []flow.FieldID
	fold     []flow.FieldID // base and what folding needs
	all      []flow.FieldID // base and what conditions, groups and aggregates need

	static  query.All      // conditions that a record alone decides
	probe   []flow.FieldID // what they and the base of time and connection read
	alike   []flow.FieldID // the same where the connection need not be known
	workers int
	lists   []listed // rows of each unit that matter
	seen    *bitset  // connections with more than one record
	multi   [][]multi
	over    [][]override

	own     atomic.Uint64 // records that the reader sees, where he is confined
	counted []bool        // of each unit, whether own has its

	numbered bool // connections that end together are ordered by their numbers
}

func prepare(s *store.Store, req *Request, listing bool) (*run, error) {
	r := &run{req: *req, stats: req.Query.Stats()}
	if r.req.MaxGroups == 0 {
		r.req.MaxGroups = DefaultGroups
	}
	if r.req.MaxConns == 0 {
		r.req.MaxConns = DefaultConns
	}
	if req.Until <= req.Since {
		return nil, fmt.Errorf("a range from %d to %d ms has no time in it", req.Since, req.Until)
	}
	var err error
	if r.node, err = query.Lower(req.Query.Expr); err != nil {
		return nil, err
	}
	if r.steps, err = req.Query.Steps(req.Since, req.Until); err != nil {
		return nil, err
	}
	if r.stats != nil && r.stats.Every > 0 {
		r.every = r.stats.Every.Milliseconds()
		r.first0 = query.StepOf(req.Since, r.every)
	}
	r.needs(listing)
	r.view = s.View(req.Since, req.Until, store.Plan{
		Live:   req.Live,
		Groups: !req.NoRollups && !listing && r.grouped() && (req.Visible == nil || groupsTell()),
		// Of records with one connection some may not be the reader's.
		Folded: !req.NoRollups && !listing && r.every == 0 && req.Visible == nil,
	})
	b := column.NewBuilder(len(r.view.Live))
	b.AddAll(r.view.Live)
	r.live = b.Snapshot()
	r.lists = make([]listed, r.units())
	r.multi, r.over = make([][]multi, r.units()), make([][]override, r.units())
	r.counted = make([]bool, r.units())
	return r, nil
}

// needs works out which columns the query reads.
func (r *run) needs(listing bool) {
	var want flow.Mask
	r.wants(r.node, &want)
	if r.stats != nil {
		for _, f := range r.stats.By {
			want.SetAll(f.IDs...)
		}
		for _, a := range r.stats.Aggs {
			want.SetAll(a.Field.IDs...)
			r.first = r.first || a.Func == query.Conns
		}
	}
	if r.req.Visible != nil {
		want.SetAll(ends[:]...)
		if want.Has(flow.FDstPort) {
			want.Set(flow.FSvcPort)
		}
	}
	r.first = r.first || listing || want.Has(flow.FFirst)
	r.times = r.first || want.Has(flow.FSince) || want.Has(flow.FEnd)
	r.base = []flow.FieldID{flow.FConnID, flow.FSince, flow.FEnd}
	for i, c := range query.Counters {
		if listing || want.Has(c.Total) {
			r.counters = append(r.counters, i)
			r.base = append(r.base, c.Delta)
			want.Clear(c.Total)
		}
	}
	if r.first {
		r.base = append(r.base, flow.FStart, flow.FFirst)
	}
	r.fold = append(slices.Clone(r.base), flow.FFinal, flow.FSeq, flow.FRecords)
	r.conjuncts(r.node)
	var probe flow.Mask
	r.wants(r.static, &probe)
	r.probe = []flow.FieldID{flow.FConnID, flow.FSince, flow.FEnd}
	if r.alike = slices.Clone(r.probe[1:]); probe.Has(flow.FConnID) {
		r.alike = slices.Clone(r.probe)
	}
	for f := range flow.FieldID(flow.NumFields) {
		if probe.Has(f) && !slices.Contains(r.probe, f) {
			r.probe, r.alike = append(r.probe, f), append(r.alike, f)
		}
	}
	r.all = slices.Clone(r.base)
	for f := range flow.FieldID(flow.NumFields) {
		if want.Has(f) && !slices.Contains(r.all, f) {
			r.all = append(r.all, f)
		}
	}
}

// conjuncts finds the conditions that must hold and that no fold changes: a connection of
// which no record fits them cannot fit.
func (r *run) conjuncts(n query.Node) {
	if all, ok := n.(query.All); ok {
		for _, x := range all {
			r.conjuncts(x)
		}
		return
	}
	if r.plain(n) {
		r.static = append(r.static, n)
	}
}

func (r *run) wants(n query.Node, m *flow.Mask) {
	switch n := n.(type) {
	case query.All:
		for _, x := range n {
			r.wants(x, m)
		}
	case query.Any:
		for _, x := range n {
			r.wants(x, m)
		}
	case query.None:
		r.wants(n.Node, m)
	case query.Present:
		m.Set(n.ID)
	case query.Test:
		m.Set(n.ID)
	}
}

// hold takes memory for the query until it is done.
func (r *run) hold(n int) error { return r.view.Hold(int64(n)) }

// done ends the query and says what it looked at.
func (r *run) done() store.Scanned {
	sc := r.view.Done()
	if r.req.Visible != nil {
		return store.Scanned{Rows: r.own.Load()}
	}
	return sc
}

// reading takes the memory of the columns that are read at a time.
func (r *run) reading() error {
	rows, width := 0, 0
	for u := range r.view.Len() {
		rows = max(rows, r.view.BlockRows(u))
	}
	for f := range flow.FieldID(flow.NumFields) {
		if !slices.Contains(r.all, f) && !slices.Contains(r.fold, f) {
			continue
		}
		if width += 9; column.KindOf(f) == column.Dict {
			width -= 5
		}
	}
	return r.hold(min(runtime.GOMAXPROCS(0), r.view.Len()) * rows * width)
}

// units are the blocks of the history and, last, what is live.
func (r *run) units() int { return r.view.Len() + 1 }

// alone says that each row of a unit is the only one of its connection.
func (r *run) alone(u int) bool { return u < r.view.Len() && r.view.Kind(u) != segment.Rows }

// inside says that all of a unit lies in the range, so that neither its rows' times nor
// the shares of their deltas need be looked at.
func (r *run) inside(u int) bool {
	if r.every > 0 || u == r.view.Len() {
		return false
	}
	lo, hi := r.view.Span(u)
	return lo >= r.req.Since && hi < r.req.Until
}

// fewer leaves the columns of time out of fields where a unit does not need them.
func (r *run) fewer(u int, fields []flow.FieldID) []flow.FieldID {
	if !r.inside(u) {
		return fields
	}
	out := make([]flow.FieldID, 0, len(fields))
	for _, f := range fields {
		if f != flow.FSince && f != flow.FEnd || r.times {
			out = append(out, f)
		}
	}
	return out
}

// block gives a unit's columns; nil where it has no rows, or its segment is damaged.
func (r *run) block(u int, fields []flow.FieldID) (*column.Block, error) {
	if r.req.Visible != nil {
		fields = append(slices.Clip(fields), ends[:]...)
	}
	return r.columns(u, fields)
}

func (r *run) columns(u int, fields []flow.FieldID) (*column.Block, error) {
	if u == r.view.Len() {
		if r.live.Rows == 0 {
			return nil, nil
		}
		return r.live, nil
	}
	return r.view.Block(u, fields)
}

// num reads a number of a column that may not be there.
func num(c *column.Column, i int32) (uint64, bool) {
	if c == nil || c.Has != nil && c.Has[i] == 0 {
		return 0, false
	}
	return c.Nums[i], true
}

// covered is query.Covered of a row.
func covered(since, end *column.Column, i int32) (from, to int64) {
	e, _ := num(end, i)
	to = int64(e)
	if s, ok := num(since, i); ok && int64(s) < to {
		return int64(s), to
	}
	return to, to
}

// stepOf is the number of the step that a time of the range falls into.
func (r *run) stepOf(t int64) int {
	if r.every == 0 {
		return 0
	}
	return int((t - r.first0) / r.every)
}

// items lists the rows of a block that belong to each step, lo and on. Rows are in order.
func (r *run) items(b *column.Block) (lo int, lists [][]int32) {
	since, end := b.Cols[flow.FSince], b.Cols[flow.FEnd]
	if r.every == 0 {
		list := make([]int32, 0, b.Rows)
		if b.Min >= r.req.Since && b.Max < r.req.Until { // all of it
			for i := range int32(b.Rows) {
				list = append(list, i)
			}
			return 0, [][]int32{list}
		}
		for i := range int32(b.Rows) {
			from, to := covered(since, end, i)
			if query.InRange(from, to, r.req.Since, r.req.Until) {
				list = append(list, i)
			}
		}
		return 0, [][]int32{list}
	}
	lo = len(r.steps)
	for pass := range 2 {
		hi := -1
		for i := range int32(b.Rows) {
			from, to := covered(since, end, i)
			if !query.InRange(from, to, r.req.Since, r.req.Until) {
				continue
			}
			k := r.stepOf(max(from, r.req.Since))
			z := k
			if to > from {
				z = r.stepOf(min(to, r.req.Until) - 1)
			}
			if pass == 0 {
				lo, hi = min(lo, k), max(hi, z)
				continue
			}
			for ; k <= z; k++ {
				lists[k-lo] = append(lists[k-lo], i)
			}
		}
		if pass == 0 {
			if hi < lo {
				return 0, nil
			}
			lists = make([][]int32, hi-lo+1)
		}
	}
	return lo, lists
}

// hash mixes a connection and a step.
func hash(conn uint64, step int) uint64 {
	h := (conn ^ uint64(step)*0xC2B2AE3D27D4EB4F) * 0x9E3779B97F4A7C15
	return h ^ h>>29
}

// Stats answers a query that has a stats stage. The stages behind it are the caller's.
func Stats(ctx context.Context, s *store.Store, req *Request) (*query.Table, store.Scanned, error) {
	if req.Query.Stats() == nil {
		return nil, store.Scanned{}, errors.New("the query has no stats stage")
	}
	r, err := prepare(s, req, false)
	if err != nil {
		return nil, store.Scanned{}, err
	}
	table, err := r.table(ctx)
	sc := r.done()
	if errors.Is(err, store.ErrRollup) {
		again := *req
		again.NoRollups = true
		return Stats(ctx, s, &again)
	}
	if err != nil {
		return nil, sc, err
	}
	return table, sc, nil
}
