package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/internal/ledger"
)

// Run is the writer. It ends when ctx does, after all that was appended is written
// and synced; the spool takes nothing afterwards.
func (s *Spool) Run(ctx context.Context) error {
	defer close(s.done)
	tick := time.NewTicker(s.cfg.FsyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.stopped = true
			s.mu.Unlock()
			s.writePending()
			err := s.sync()
			s.closeSegment()
			return err
		case <-s.wake:
			s.writePending()
		case reply := <-s.flush:
			s.writePending()
			reply <- s.sync()
		case <-tick.C:
			// An error is counted and logged in sync; the data stays readable from
			// the page cache.
			_ = s.sync()
		}
	}
}

// writePending writes every block that is packed now.
func (s *Spool) writePending() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.seal()
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		p := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()

		reason := s.writeBlock(p)

		s.mu.Lock()
		s.queued -= len(p.buf)
		if reason != "" {
			s.pending = minus(s.pending, p.amt)
		}
		if len(s.free) < 16 && cap(p.buf) <= 1<<20 {
			s.free = append(s.free, p.buf)
		}
		s.mu.Unlock()
		if reason != "" {
			s.lost(reason, p.amt)
			continue
		}
		signal(s.ready)
	}
}

const complainEvery = 10 * time.Second

// complain logs a failed write, at most every ten seconds: a disk that is full fails each
// block. All of them are in the metrics, and what was lost in the books.
func (s *Spool) complain(err error) {
	if s.unsaid++; time.Since(s.complained) < complainEvery {
		return
	}
	s.log.Error("spool write failed", "dir", s.cfg.Dir, "error", err, "failures", s.unsaid)
	s.complained, s.unsaid = time.Now(), 0
}

// writeBlock puts one block into the files and gives "" or why it could not.
func (s *Spool) writeBlock(p packed) (lost string) {
	n := int64(len(p.buf))
	for s.over(n) {
		if s.cfg.OnFull == DropNewest || !s.dropOldest(LostSpoolFull) {
			return LostSpoolFull
		}
	}
	for {
		err := s.tryWrite(p)
		if err == nil {
			return ""
		}
		s.writeErrors.Add(1)
		s.complain(err)
		full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
		if !full {
			s.closeSegment()
			return LostDiskError
		}
		if s.cfg.OnFull == DropNewest || !s.dropOldest(LostDiskFull) {
			return LostDiskFull
		}
	}
}

func (s *Spool) over(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes+n > s.cfg.MaxBytes
}

func (s *Spool) tryWrite(p packed) error {
	if s.outSeg != nil && s.outSeg.size+int64(len(p.buf)) > s.cfg.SegmentBytes {
		s.closeSegment()
	}
	if s.outSeg == nil {
		if err := s.openSegment(); err != nil {
			return err
		}
	}
	seg := s.outSeg
	putBlockHeader(p.buf, p.buf[blkHeader:], s.end, p.amt)
	if _, err := s.out.WriteAt(p.buf, seg.size); err != nil {
		// Cut off what may have been written, so that the next block follows the last.
		return errors.Join(err, s.out.Truncate(seg.size))
	}
	s.dirty = true
	s.written.Add(uint64(len(p.buf)))
	s.mu.Lock()
	seg.size += int64(len(p.buf))
	seg.amt = seg.amt.Plus(p.amt)
	s.end += p.amt.Records
	seg.end = s.end
	// In one step with the end: who reads the block from here on takes it from what is on disk.
	s.pending = minus(s.pending, p.amt)
	s.onDisk = s.onDisk.Plus(p.amt)
	s.bytes += int64(len(p.buf))
	s.mu.Unlock()
	return nil
}

func (s *Spool) openSegment() error {
	path := filepath.Join(s.cfg.Dir, segName(s.end))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	head := appendSegHeader(nil, s.end)
	if _, err := f.WriteAt(head, 0); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	seg := &segment{path: path, first: s.end, end: s.end, size: segHeader, fields: numFields}
	s.mu.Lock()
	s.segs = append(s.segs, seg)
	s.bytes += segHeader
	s.out, s.outSeg = f, seg
	s.mu.Unlock()
	s.dirty = true
	return syncDir(s.cfg.Dir)
}

// closeSegment ends the segment that is being written. Its errors are counted and logged:
// what was written can still be read, and the next block goes to a new file.
func (s *Spool) closeSegment() {
	if s.out == nil {
		return
	}
	f := s.out
	if s.sync() != nil {
		return // sync gave the segment up
	}
	if err := f.Close(); err != nil {
		s.log.Error("spool segment close failed", "segment", f.Name(), "error", err)
	}
	s.setOut(nil, nil)
}

func (s *Spool) setOut(f *os.File, seg *segment) {
	s.mu.Lock()
	s.out, s.outSeg = f, seg
	s.mu.Unlock()
}

// sync puts on the disk what was written. After a failure the kernel may have dropped
// the pages and would not fail again, so that segment gets nothing more.
func (s *Spool) sync() error {
	if !s.dirty || s.out == nil {
		return nil
	}
	s.dirty = false
	err := unix.Fdatasync(int(s.out.Fd()))
	if err == nil {
		return nil
	}
	s.fsyncErrors.Add(1)
	s.log.Error("spool fsync failed", "dir", s.cfg.Dir, "error", err)
	f := s.out
	s.setOut(nil, nil)
	return errors.Join(fmt.Errorf("fsync %s: %w", f.Name(), err), f.Close())
}

// dropOldest takes the oldest segment out and books what was not yet read of it. It
// reports false when only the segment that is being written is left.
func (s *Spool) dropOldest(reason string) bool {
	s.mu.Lock()
	if len(s.segs) == 0 || s.segs[0] == s.outSeg {
		s.mu.Unlock()
		return false
	}
	seg := s.segs[0]
	s.segs = s.segs[1:]
	s.bytes -= seg.size
	a := seg.unread()
	seg.read = seg.amt
	s.onDisk = minus(s.onDisk, a)
	s.mu.Unlock()
	s.loseIf(reason, a)
	if a != (ledger.Amount{}) {
		s.log.Warn("spool dropped its oldest segment", "segment", seg.path, "reason", reason, "records", a.Records)
	}
	if err := seg.remove(); err != nil {
		s.log.Error("spool segment not removed", "segment", seg.path, "error", err)
	}
	return true
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
