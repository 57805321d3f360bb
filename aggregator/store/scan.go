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
	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
)

// Scanned says what a scan looked at.
type Scanned struct {
	Rows    uint64 // records in the blocks that were given
	Blocks  int    // row groups, and the rows in memory
	Bytes   uint64 // read from the disk
	Damaged int    // segments that were set aside during this scan: the answer lacks them
	Oldest  int64  // ms: before it the history has nothing (0: it is empty)
	Short   bool   // the range begins before Oldest
}

// unit is one row group of a segment, or the rows in memory.
type unit struct {
	part  *part
	group int
	rows  int
	lo    int64
	hi    int64
	head  *column.Block
}

// snapshot lists what may have records of the time from..to (ms, to exclusive), oldest
// first, and holds the segments until done is called.
func (s *Store) snapshot(from, to int64) (units []unit, sc Scanned, done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var held []*part
	for _, p := range s.parts {
		n := len(units)
		for g, m := range p.meta.Groups {
			if sc.Oldest == 0 || m.Min < sc.Oldest {
				sc.Oldest = m.Min
			}
			if m.Min < to && m.Max >= from {
				units = append(units, unit{part: p, group: g, rows: m.Rows, lo: m.Min, hi: m.Max})
			}
		}
		if len(units) > n {
			p.refs++
			held = append(held, p)
		}
	}
	if b := s.head.rows.Snapshot(); b.Rows > 0 {
		if sc.Oldest == 0 {
			sc.Oldest = b.Min
		}
		if b.Overlaps(from, to) {
			units = append(units, unit{head: b, rows: b.Rows, lo: b.Min, hi: b.Max})
		}
	}
	sc.Short = sc.Oldest == 0 || from < sc.Oldest
	return units, sc, func() {
		for _, p := range held {
			s.release(p)
		}
	}
}

// Scan gives fn the blocks that may have records of the time from..to (ms, to exclusive),
// with the columns of fields; a block may hold other records too. With workers above
// one, fn is called from that many goroutines at once, with the number of its own, in no
// order; with one, oldest first, or newest first if newest is set. An error of fn ends
// the scan and is returned; ErrStop ends it without one. A damaged segment is left out, set
// aside and counted.
func (s *Store) Scan(ctx context.Context, q Query, fn func(worker int, b *column.Block) error) (Scanned, error) {
	units, sc, done := s.snapshot(q.From, q.To)
	defer done()
	if q.Newest {
		slices.Reverse(units)
	}
	workers := q.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = max(1, min(workers, len(units)))
	var next, rows, bytes, blocks atomic.Int64
	var damaged sync.Map
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := func(w int) {
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= len(units) {
				return
			}
			b, n, err := s.block(&units[i], q.Fields)
			bytes.Add(n)
			if errors.Is(err, segment.ErrCorrupt) {
				damaged.Store(units[i].part, true)
				s.drop(units[i].part, err)
				continue
			}
			if err == nil {
				rows.Add(int64(b.Rows))
				blocks.Add(1)
				err = fn(w, b)
			}
			if err != nil {
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
	sc.Rows, sc.Blocks, sc.Bytes = uint64(rows.Load()), int(blocks.Load()), uint64(bytes.Load())
	damaged.Range(func(any, any) bool { sc.Damaged++; return true })
	s.Stats.RowsScanned.Add(sc.Rows)
	s.Stats.BytesRead.Add(sc.Bytes)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, ErrStop) {
		return sc, err
	}
	return sc, nil
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
