// Package spool keeps flow records on disk between a producer that must not wait
// and one consumer that may be slow, dead or away for hours.
//
// The idea: a queue of segment files, each a sequence of checksummed blocks of
// packed records, and a cursor file that says up to where the consumer is done. Every
// record has a position, a number that never comes again in the life of a spool.
//
// In: Append, which packs into memory and returns. One writer goroutine (Run) moves
// what is packed into the files at once and calls fsync every FsyncEvery. Out:
// Read, Commit. It does not decide when to deliver or how often to try: that is
// sinks.Runner.
//
// If the process is killed, what the writer had written is kept by the kernel: lost
// is only what Append packed in the last instant. If the machine loses power, lost is
// at most the last FsyncEvery. A torn end is cut off and counted; a damaged
// block is stepped over, named and counted, and the rest is read.
package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// Policy says what a full spool drops.
type Policy string

// The policies.
const (
	DropOldest Policy = "drop_oldest" // whole segments from the front
	DropNewest Policy = "drop_newest" // what comes in
)

// The reasons under which a spool books records as lost.
const (
	LostQueueFull = "queue_full" // the writer did not keep up with Append
	LostSpoolFull = "spool_full" // MaxBytes was reached
	LostDiskFull  = "disk_full"  // the file system could not take it
	LostDiskError = "disk_error" // a write failed for another reason
	LostCorrupt   = "corrupt"    // a block or segment was damaged
	LostSchema    = "schema"     // written by a newer version
	LostStopped   = "stopped"    // offered after the end
)

// Config is what a spool needs to know.
type Config struct {
	Dir          string        // one directory per spool, made if absent
	SegmentBytes int64         // a segment is closed at this size
	MaxBytes     int64         // most bytes of all segments, at least twice SegmentBytes
	FsyncEvery   time.Duration // at most this much is lost with the machine's power
	OnFull       Policy
	PendingBytes int // most bytes packed and not yet written
	BlockRecords int // most records of a block, and so the grain of Read
}

// DefaultConfig gives the values for everything but Dir.
func DefaultConfig() Config {
	return Config{
		SegmentBytes: 16 << 20, MaxBytes: 4 << 30, FsyncEvery: time.Second,
		OnFull: DropOldest, PendingBytes: 8 << 20, BlockRecords: 512,
	}
}

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("dir: is empty, name a directory for the spool")
	case c.SegmentBytes < 64<<10:
		return fmt.Errorf("segmentBytes: %d is below 65536", c.SegmentBytes)
	case c.MaxBytes < 2*c.SegmentBytes:
		return fmt.Errorf("maxBytes: %d is below twice segmentBytes (%d)", c.MaxBytes, 2*c.SegmentBytes)
	case c.FsyncEvery <= 0:
		return fmt.Errorf("fsync: %v must be above zero", c.FsyncEvery)
	case c.OnFull != DropOldest && c.OnFull != DropNewest:
		return fmt.Errorf("onFull: %q is neither %s nor %s", c.OnFull, DropOldest, DropNewest)
	case c.PendingBytes < 64<<10:
		return fmt.Errorf("pendingBytes: %d is below 65536", c.PendingBytes)
	case c.BlockRecords < 1 || c.BlockRecords > 1<<16:
		return fmt.Errorf("blockRecords: %d is not in 1..65536", c.BlockRecords)
	}
	return nil
}

// Deps are what a spool tells its owner. All may be nil.
type Deps struct {
	Logger *slog.Logger
	Lost   func(reason string, a ledger.Amount) // called from any goroutine
}

// Stats are counters since Open, and sizes now.
type Stats struct {
	Bytes, Segments          int64
	WriteErrors, FsyncErrors uint64
	TornBytes, DamagedBlocks uint64
	Written, End, Committed  uint64 // bytes written; positions
}

// blockBytes closes a block before it has all its records.
const blockBytes = 256 << 10

// packed is one block ready to be written: room for its header, then the payload.
type packed struct {
	buf []byte
	amt ledger.Amount
}

// Spool is one durable queue. Append may be called from any goroutine; Read, Commit
// and SkipTo from one; Run is the writer and ends the spool.
type Spool struct {
	cfg  Config
	log  *slog.Logger
	lost func(string, ledger.Amount)
	id   string
	lock *os.File

	wake  chan struct{} // to the writer: something is packed
	ready chan struct{} // to the reader: something is written
	flush chan chan error
	done  chan struct{} // closed when the writer has ended

	mu       sync.Mutex
	enc      encoder
	queue    []packed // sealed blocks, oldest first
	queued   int      // their bytes
	pending  ledger.Amount
	free     [][]byte
	stopped  bool
	segs     []*segment
	bytes    int64
	end      uint64        // position of the next record to be written
	onDisk   ledger.Amount // written and not taken
	taken    ledger.Amount // taken by Read and not committed
	cursor   uint64
	recovery ledger.Amount

	out    *os.File // the writer's
	outSeg *segment
	dirty  bool

	rd     blockReader // the reader's
	rdFile *os.File
	rdSeg  *segment
	rpos   uint64

	writeErrors, fsyncErrors, torn, damaged, written atomic.Uint64

	complained time.Time // the writer's: when a failed write was logged last
	unsaid     int       // failures since then
}

// ID names this spool: it changes when the directory is made anew. A destination
// that stores a position stores the ID beside it.
func (s *Spool) ID() string { return s.id }

// Append packs records into memory and wakes the writer. It takes what fits in
// PendingBytes; the rest is booked as lost (queue_full). It never waits for a disk.
func (s *Spool) Append(recs []flow.Record) (took ledger.Amount) {
	var refused, late ledger.Amount
	s.mu.Lock()
	for i := range recs {
		a := AmountOf(&recs[i])
		if s.stopped {
			late = late.Plus(a)
			continue
		}
		if s.queued+len(s.enc.buf) >= s.cfg.PendingBytes {
			refused = refused.Plus(a)
			continue
		}
		if s.enc.n == 0 {
			s.enc.reset(s.blockBuf())
		}
		s.enc.add(&recs[i])
		took = took.Plus(a)
		if s.enc.n >= s.cfg.BlockRecords || len(s.enc.buf) >= blockBytes {
			s.seal()
		}
	}
	s.pending = s.pending.Plus(took)
	s.mu.Unlock()
	signal(s.wake)
	s.loseIf(LostQueueFull, refused)
	s.loseIf(LostStopped, late)
	return took.Plus(refused).Plus(late)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Spool) loseIf(reason string, a ledger.Amount) {
	if a != (ledger.Amount{}) {
		s.lost(reason, a)
	}
}

// blockBuf gives a buffer with room for a block header in front.
func (s *Spool) blockBuf() []byte {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b[:blkHeader]
	}
	return make([]byte, blkHeader, 64<<10)
}

// seal closes the block that is being packed.
func (s *Spool) seal() {
	if s.enc.n == 0 {
		return
	}
	s.queue = append(s.queue, packed{s.enc.buf, s.enc.amt})
	s.queued += len(s.enc.buf)
	s.enc.n, s.enc.buf, s.enc.amt = 0, nil, ledger.Amount{}
}

// Held is what came in and is neither committed nor lost.
func (s *Spool) Held() ledger.Amount {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending.Plus(s.onDisk).Plus(s.taken)
}

// Recovered is what Open found from the process before.
func (s *Spool) Recovered() ledger.Amount { return s.recovery }

// End is the position behind the last record that was written: the number of
// records that this spool ever took.
func (s *Spool) End() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// Committed is the position up to which the consumer is done.
func (s *Spool) Committed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor
}

// Ready is signalled when records were written.
func (s *Spool) Ready() <-chan struct{} { return s.ready }

// Stats gives counters and sizes.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Bytes: s.bytes, Segments: int64(len(s.segs)), End: s.end, Committed: s.cursor,
		WriteErrors: s.writeErrors.Load(), FsyncErrors: s.fsyncErrors.Load(),
		TornBytes: s.torn.Load(), DamagedBlocks: s.damaged.Load(), Written: s.written.Load(),
	}
}

// Flush returns when all that Append took before is on the disk.
func (s *Spool) Flush(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case s.flush <- reply:
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("flush spool %s: %w", s.cfg.Dir, ctx.Err())
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("flush spool %s: %w", s.cfg.Dir, ctx.Err())
	}
}
