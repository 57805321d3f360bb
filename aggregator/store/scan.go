package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/aggregator/store/column"
	"github.com/weirnet/weir/aggregator/store/rollup"
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
)

// Scanned says what a scan looked at.
type Scanned struct {
	Rows     uint64 // records in the blocks that were given
	Blocks   int    // row groups, and the rows in memory
	Segments int    // files
	Rollups  int    // of them, roll-ups that stood for the records of a segment
	Bytes    uint64 // read from the disk
	Damaged  int    // segments that were set aside during this scan: the answer lacks them
	Oldest   int64  // ms: before it the history has nothing (0: it is empty)
	Short    bool   // the range begins before Oldest
}

// View is what a query sees of the history: the segments and recent rows of one moment.
// Its methods may be called from any goroutine.
type View struct {
	Scanned                // Rows, Blocks, Bytes and Damaged are filled by Done
	Live    []*flow.Record // what the plan's gave

	s       *Store
	units   []unit
	held    []*part
	bytes   atomic.Int64
	memory  int64 // held; Store.mu guards it
	mu      sync.Mutex
	damaged map[*part]bool
	again   bool // a record may be of a connection of which one was said to be the only one
}

// Plan says what a view may answer from.
type Plan struct {
	// Live gives records that stand beside the history; nil for none. It is called with the
	// view's moment, so that what Deps.Written was told leaves it as the view begins to show it.
	Live   func() []*flow.Record
	Groups bool // sums by minute and rollup.Dim are as good as the records that are the only one of their connection
	Folded bool // of each connection one record with the sums of a segment's is as good as all
}

// View opens what may have records of the time from..to (ms, to exclusive). Done gives
// it back. Segments whose time lies in the range are read from their roll-ups as far as
// the plan allows.
func (s *Store) View(from, to int64, plan Plan) *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &View{s: s, damaged: map[*part]bool{}}
	head := s.head.blocks()
	inRange := func(b kindBlock) bool { return b.Overlaps(from, to) }
	v.again = s.head.again > 0 && slices.ContainsFunc(head, inRange) || slices.ContainsFunc(s.parts, func(p *part) bool {
		lo, hi := p.span()
		return p.meta.Again > 0 && lo < to && hi >= from
	})
	if plan.Live != nil {
		v.Live = slices.DeleteFunc(plan.Live(), func(r *flow.Record) bool {
			lo, hi := column.Interval(r)
			return lo >= to || hi < from
		})
	}
	v.again = v.again || slices.ContainsFunc(v.Live, s.seen.contradicts)
	for _, p := range s.parts {
		lo, hi := p.span()
		if v.Oldest == 0 || lo < v.Oldest {
			v.Oldest = lo
		}
		kinds := [3]*part{p, p, p}
		if r := p.roll; r != nil && !v.again && lo >= from && hi < to {
			if plan.Groups && r.meta.Grouped && lo-lo%rollup.Minute >= from {
				kinds[segment.Sole], kinds[segment.Groups] = r, r
			}
			if plan.Folded && r.has(segment.Rows) {
				kinds[segment.Rows] = r
			}
		}
		v.add(p, from, to, kinds)
		if p.roll != nil {
			v.add(p.roll, from, to, kinds)
		}
	}
	for _, b := range head {
		if len(s.parts) == 0 && (v.Oldest == 0 || b.Min < v.Oldest) {
			v.Oldest = b.Min
		}
		if inRange(b) {
			v.units = append(v.units, unit{head: b.Block, kind: b.kind, rows: b.Rows, lo: b.Min, hi: b.Max})
		}
	}
	v.Short = v.Oldest == 0 || from < v.Oldest
	return v
}

// Begins is the time of the oldest record, ms since the epoch; 0 where there is none.
func (s *Store) Begins() int64 {
	v := s.View(0, 0, Plan{})
	defer v.Done()
	return v.Oldest
}

// add takes the row groups of a part whose kind is read from it.
func (v *View) add(p *part, from, to int64, kinds [3]*part) {
	n := len(v.units)
	for g, m := range p.meta.Groups {
		if kinds[m.Kind] == p && m.Min < to && m.Max >= from {
			v.units = append(v.units, unit{part: p, group: g, kind: m.Kind, rows: m.Rows, lo: m.Min, hi: m.Max})
		}
	}
	if len(v.units) > n {
		p.refs++
		v.held = append(v.held, p)
	}
}

// Len is the number of blocks, oldest first.
func (v *View) Len() int { return len(v.units) }

// BlockRows is how many records block i has.
func (v *View) BlockRows(i int) int { return v.units[i].rows }

// Span is the time that block i speaks of, ms, both inclusive.
func (v *View) Span(i int) (lo, hi int64) { return v.units[i].lo, v.units[i].hi }

// Kind says what the rows of block i are. Where a record in the range puts in doubt that
// others are the only ones of their connections, no block is of kind segment.Sole.
func (v *View) Kind(i int) segment.Kind {
	if k := v.units[i].kind; k != segment.Sole || !v.again {
		return k
	}
	return segment.Rows
}

// Block reads the columns of fields of block i, from memory where they are there. A block
// of a damaged segment is nil; the segment is set aside and counted.
func (v *View) Block(i int, fields []flow.FieldID) (*column.Block, error) {
	u := &v.units[i]
	b, n, err := v.s.block(u, fields)
	v.bytes.Add(n)
	if errors.Is(err, segment.ErrCorrupt) && u.part.rolled {
		v.s.dropRollup(u.part, err)
		return nil, fmt.Errorf("history: %w", ErrRollup)
	}
	if errors.Is(err, segment.ErrCorrupt) {
		v.mu.Lock()
		v.damaged[u.part] = true
		v.mu.Unlock()
		v.s.drop(u.part, err)
		return nil, nil
	}
	return b, err
}

// Done ends the view and says what it looked at.
func (v *View) Done() Scanned {
	v.free()
	for _, p := range v.held {
		v.Segments++
		if p.rolled {
			v.Rollups++
		}
		v.s.release(p)
	}
	v.held = nil
	for i := range v.units {
		if !v.damaged[v.units[i].part] {
			v.Rows += uint64(v.units[i].rows)
			v.Blocks++
		}
	}
	v.Rows += uint64(len(v.Live))
	v.Damaged, v.Bytes = len(v.damaged), uint64(v.bytes.Load())
	v.s.Stats.RowsScanned.Add(v.Rows)
	v.s.Stats.BytesRead.Add(v.Bytes)
	return v.Scanned
}

// unit is one row group of a segment, or the rows in memory.
type unit struct {
	part  *part
	group int
	kind  segment.Kind
	rows  int
	lo    int64
	hi    int64
	head  *column.Block
}

// Scan gives fn the blocks that may have records of the time From..To, with the columns
// of Fields; a block may hold other records too. With workers above one, fn is called
// from that many goroutines at once, with the number of its own, in no order; with one,
// oldest first, or newest first if Newest is set. An error of fn ends the scan and is
// returned; ErrStop ends it without one.
func (s *Store) Scan(ctx context.Context, q Query, fn func(worker int, b *column.Block) error) (Scanned, error) {
	v := s.View(q.From, q.To, Plan{})
	if q.Newest {
		slices.Reverse(v.units)
	}
	n, err := v.Each(ctx, q.Workers, func(w, i int) error {
		b, err := v.Block(i, q.Fields)
		if b == nil || err != nil {
			return err
		}
		return fn(w, b)
	})
	for i := n; i < len(v.units); i++ {
		v.units[i].rows = 0 // not looked at
	}
	sc := v.Done()
	sc.Blocks = min(sc.Blocks, n)
	return sc, err
}

// Each calls fn for every block, from up to workers goroutines (0 for one a core), and
// gives the number of blocks that were begun.
func (v *View) Each(ctx context.Context, workers int, fn func(worker, block int) error) (int, error) {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = max(1, min(workers, len(v.units)))
	var next atomic.Int64
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := func(w int) {
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(v.units) {
				return
			}
			if err := fn(w, i); err != nil {
				cancel(err)
				return
			}
		}
	}
	var wg sync.WaitGroup
	for w := 1; w < workers; w++ {
		wg.Go(func() { work(w) })
	}
	work(0)
	wg.Wait()
	n := min(int(next.Load()), len(v.units))
	if err := context.Cause(ctx); err != nil && !errors.Is(err, ErrStop) {
		return n, err
	}
	return n, nil
}

// ErrStop is what a Scan's function returns when it has enough.
var ErrStop = errors.New("enough")

// Query is what a Scan looks for.
type Query struct {
	From, To int64          // ms, To exclusive
	Fields   []flow.FieldID // columns to give
	Workers  int            // goroutines; 0 for one a core
	Newest   bool           // newest blocks first
}

// block reads the columns of a unit, from memory where they are there.
func (s *Store) block(u *unit, fields []flow.FieldID) (*column.Block, int64, error) {
	if u.head != nil {
		return u.head, 0, nil
	}
	b := &column.Block{Rows: u.rows, Min: u.lo, Max: u.hi}
	var miss []flow.FieldID
	s.mu.Lock()
	for _, f := range fields {
		if b.Cols[f] = s.cache.get(cacheKey{u.part, u.group, f}); b.Cols[f] == nil {
			miss = append(miss, f)
		}
	}
	s.mu.Unlock()
	s.Stats.CacheHits.Add(uint64(len(fields) - len(miss)))
	if len(miss) == 0 {
		return b, 0, nil
	}
	file, err := s.acquire(u.part)
	if err != nil {
		return nil, 0, fmt.Errorf("history: %w", err)
	}
	defer s.release(u.part)
	var read int64
	for _, f := range miss {
		if b.Cols[f] != nil || !file.Has(f) {
			continue
		}
		s.Stats.CacheMisses.Add(1)
		c, err := file.Column(u.group, f)
		if err != nil {
			return nil, read, fmt.Errorf("history: %w", err)
		}
		read += file.ColumnSize(u.group, f)
		b.Cols[f] = c
		s.mu.Lock()
		s.cache.put(cacheKey{u.part, u.group, f}, c)
		s.mu.Unlock()
	}
	return b, read, nil
}
