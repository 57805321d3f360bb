// Package store is the built-in history: the flow records of the last days, in columns,
// on this machine's disk.
//
// In: batches from sinks.Runner, each with its position in the spool. They stand in
// memory as columns, at once seen by queries, and become a Parquet segment when
// they are many or old. Out: Scan, which gives the columns of a range, block by block.
// Small segments are joined hour by hour; the oldest go when the history is too large
// or too old.
//
// If the process dies, the rows in memory are in the spool still, because Stored covers
// only segments: the next process gets them again and misses nothing. A segment
// holds the position up to which it goes, so none comes twice. A damaged segment is set
// aside under another name, counted, and the rest answers and says so. On a full disk the
// oldest hours make room for the newest.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// Deps are what the history uses. All may be nil.
type Deps struct {
	Logger *slog.Logger
	Clock  func() time.Time
	// Written is called with records that views show from now on, before the next view is
	// opened; it must be quick. See Plan.Live.
	Written func([]flow.Record)
	// Left is the stage in the books for records that leave the history: out by age and by
	// size, as configured, and lost where a disk is full or a segment is damaged.
	Left *ledger.Stage
}

// Store is the history. WriteAt, Tick, Store and Close belong to one goroutine, the
// Runner's; Run to another; everything else may be called from any.
type Store struct {
	cfg Config
	log *slog.Logger
	now func() time.Time

	written func([]flow.Record)
	leaves  *ledger.Stage

	spool string // ID of the spool that positions count in

	mu    sync.Mutex
	parts []*part // oldest first
	bytes int64   // of the parts
	head  *head
	seq   uint64 // number of the newest part
	files int    // open ones
	cache cache
	seen  *seen

	Stats Stats
}

// Stats are counters since the start.
type Stats struct {
	RowsIn, Segments, SegmentBytes, SealFailures, SealNanos atomic.Uint64
	Compactions, CompactedRows, CompactFailures             atomic.Uint64
	RemovedAge, RemovedSize, RemovedFull                    atomic.Uint64 // segments
	RemovedRows                                             atomic.Uint64
	Corrupt, CorruptRows                                    atomic.Uint64
	Rollups, RollupFailures, CorruptRollups                 atomic.Uint64
	RowsScanned, BytesRead, CacheHits, CacheMisses          atomic.Uint64
}

// New opens a history and looks at every segment that is there.
func New(cfg Config, deps Deps) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	s := &Store{cfg: cfg, log: deps.Logger, now: deps.Clock, written: deps.Written, leaves: deps.Left}
	if s.leaves == nil {
		s.leaves = ledger.NewBook().Stage("history")
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.cache.init(cfg.forQueries())
	s.head = s.newHead(nil)
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("history: %w: make it writable for this user, or name another directory", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	s.remember()
	return s, nil
}

// Name implements sinks.Sink.
func (s *Store) Name() string { return "history" }

// Resume implements sinks.Resumer.
func (s *Store) Resume(_ context.Context, spool string) (pos uint64, ok bool, err error) {
	s.spool = spool
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range slices.Backward(s.parts) {
		if p.meta.Spool == spool {
			s.head.from, s.head.to = p.meta.To, p.meta.To
			return p.meta.To, true, nil
		}
	}
	return 0, false, nil
}

// Stored implements sinks.Keeper.
func (s *Store) Stored() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.from
}

// Write implements sinks.Sink without a position.
func (s *Store) Write(ctx context.Context, recs []flow.Record) error {
	return s.WriteAt(ctx, s.head.to, recs)
}

// WriteAt implements sinks.Resumer: the records are seen by queries when it returns. An
// error is one of the disk, and nothing was taken.
func (s *Store) WriteAt(ctx context.Context, pos uint64, recs []flow.Record) error {
	now := s.now()
	if s.due(now) {
		if err := s.seal(ctx); err != nil {
			return err
		}
	}
	h := s.head
	if pos < h.to && h.len() > 0 {
		recs = recs[min(uint64(len(recs)), h.to-pos):]
		pos = h.to
	}
	if len(recs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.len() == 0 {
		h.from, h.born, h.hour = pos, now, now.Truncate(time.Hour)
	}
	h.add(recs, s.seen)
	h.to = pos + uint64(len(recs))
	s.Stats.RowsIn.Add(uint64(len(recs)))
	if s.written != nil {
		s.written(recs)
	}
	return nil
}

// due tells whether the rows in memory should become a segment.
func (s *Store) due(now time.Time) bool {
	h := s.head
	n := h.len()
	return n >= min(s.cfg.HeadRows, s.cfg.rowsOfGroup()) || n > 0 && (h.bytes() >= s.cfg.Memory/headShare ||
		now.Sub(h.born) >= s.cfg.HeadAge || !now.Truncate(time.Hour).Equal(h.hour))
}

// Tick implements sinks.Ticker.
func (s *Store) Tick(ctx context.Context, now time.Time) error {
	if s.due(now) {
		return s.seal(ctx)
	}
	return nil
}

// Store implements sinks.Keeper.
func (s *Store) Store(ctx context.Context) error { return s.seal(ctx) }

// Close implements io.Closer. Rows in memory that Store has not put on the disk are left to
// the spool.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.parts {
		errs = append(errs, s.closeFile(p))
		if p.roll != nil {
			errs = append(errs, s.closeFile(p.roll))
		}
	}
	return errors.Join(errs...)
}

// seal makes a segment of the rows in memory. On a full disk it removes the oldest
// hours until the segment fits, but not the hour that is being written.
func (s *Store) seal(ctx context.Context) error {
	h := s.head
	if h.len() == 0 {
		return nil
	}
	start := s.now()
	blocks := h.blocks()
	p, err := s.writePart(blocks, h)
	for errors.Is(err, unix.ENOSPC) && ctx.Err() == nil && s.makeRoom(h.hour) {
		p, err = s.writePart(blocks, h)
	}
	s.Stats.SealNanos.Add(uint64(max(0, s.now().Sub(start))))
	if err != nil {
		s.Stats.SealFailures.Add(1)
		return fmt.Errorf("history: write segment of %d rows: %w", h.len(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, p)
	s.bytes += p.size
	s.seq = p.hi
	s.head = s.newHead(h)
	s.head.from, s.head.to = h.to, h.to
	for g, b := range blocks {
		for f, c := range b.Cols {
			if c != nil {
				s.cache.put(cacheKey{p, g, flow.FieldID(f)}, c)
			}
		}
	}
	s.Stats.Segments.Add(1)
	s.Stats.SegmentBytes.Add(uint64(p.size))
	return nil
}
