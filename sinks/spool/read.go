package spool

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// Read appends the records of the next block to out and gives the position of the
// first of them. Without more records it gives out as it was. What it gave is held in
// the books until Commit. An error is one of the disk; the next call tries again.
func (s *Spool) Read(out []flow.Record) (recs []flow.Record, pos uint64, err error) {
	for {
		seg, limit, ok := s.readSegment()
		if !ok {
			return out, s.rpos, nil
		}
		if err := s.openForRead(seg); err != nil {
			s.log.Error("spool segment not readable", "segment", seg.path, "error", err)
			s.leave(seg, cmp.Or(seg.why, LostCorrupt))
			continue
		}
		k, payload, skipped, damaged, err := s.rd.next(limit)
		if skipped || damaged {
			s.damaged.Add(1)
			s.log.Error("spool block damaged and stepped over", "segment", seg.path, "offset", s.rd.off, "position", k.pos)
		}
		if errors.Is(err, io.EOF) {
			if s.finished(seg, limit) {
				s.leave(seg, LostCorrupt)
				continue
			}
			return out, s.rpos, nil
		}
		if err != nil {
			return out, s.rpos, fmt.Errorf("read %s: %w", seg.path, err)
		}
		if damaged || k.end() <= s.rpos {
			continue // damage is booked when the segment is left
		}
		n := len(out)
		recs, err := s.rd.dec.block(payload, int(k.amounts.Records), out)
		if err != nil {
			s.damaged.Add(1)
			s.log.Error("spool block does not decode and is stepped over", "segment", seg.path, "position", k.pos)
			out = recs[:n]
			continue
		}
		if !s.take(seg, k, recs[n:]) {
			out = recs[:n] // dropped while we read it: it is booked as lost
			continue
		}
		first := k.pos
		if skip := s.rpos - k.pos; s.rpos > k.pos {
			recs = slices.Delete(recs, n, n+int(skip))
			first = s.rpos
		}
		s.rpos = k.end()
		return recs, first, nil
	}
}

// readSegment gives the segment in which the reading position lies, and how much of it
// is written. A position before the first segment moves to it.
func (s *Spool) readSegment() (seg *segment, limit int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segs {
		if g.end > s.rpos || g == s.rdSeg && (g == s.outSeg || g.unread() != (ledger.Amount{})) {
			s.rpos = max(s.rpos, g.first)
			return g, g.size, true
		}
	}
	return nil, 0, false
}

func (s *Spool) openForRead(seg *segment) error {
	if s.rdSeg == seg {
		return nil
	}
	s.closeRead()
	if seg.why != "" {
		return errors.New("it was set aside at the start")
	}
	f, err := os.Open(seg.path)
	if err != nil {
		return err
	}
	s.rdFile, s.rdSeg = f, seg
	s.rd.f, s.rd.off, s.rd.dec.fields = f, segHeader, seg.fields
	return nil
}

func (s *Spool) closeRead() {
	if s.rdFile != nil {
		_ = s.rdFile.Close() // opened for reading: nothing can be lost
	}
	s.rdFile, s.rdSeg = nil, nil
}

// finished says that the reader is at the end of a segment that gets no more.
func (s *Spool) finished(seg *segment, limit int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return seg != s.outSeg && seg.size == limit
}

// leave goes on to the next segment and books what could not be read of this one.
func (s *Spool) leave(seg *segment, reason string) {
	s.mu.Lock()
	a := seg.unread()
	seg.read = seg.amt
	s.onDisk = minus(s.onDisk, a)
	s.rpos = max(s.rpos, seg.end)
	s.mu.Unlock()
	s.closeRead()
	s.loseIf(reason, a)
}

// take books a block as taken; it reports false if its segment was dropped meanwhile.
// Of a block that was committed in part before, only the rest counts.
func (s *Spool) take(seg *segment, k block, recs []flow.Record) bool {
	a := k.amounts
	if s.rpos > k.pos {
		a = amountOfAll(recs[s.rpos-k.pos:])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.segs, seg) {
		return false
	}
	seg.read = seg.read.Plus(a)
	s.onDisk = minus(s.onDisk, a)
	s.taken = s.taken.Plus(a)
	return true
}

func amountOfAll(recs []flow.Record) (a ledger.Amount) {
	for i := range recs {
		a = a.Plus(AmountOf(&recs[i]))
	}
	return a
}

// Commit says that the consumer is done with everything before pos, which held the
// amount a: the cursor is stored and segments without use are removed. durable asks for
// an fsync of the cursor, which a destination that stores the position itself does not need.
func (s *Spool) Commit(pos uint64, a ledger.Amount, durable bool) error {
	s.mu.Lock()
	s.cursor = max(s.cursor, pos)
	s.taken = minus(s.taken, a)
	var gone []*segment
	for len(s.segs) > 0 && s.segs[0] != s.outSeg && s.segs[0].end <= s.cursor && s.segs[0].unread() == (ledger.Amount{}) {
		gone = append(gone, s.segs[0])
		s.bytes -= s.segs[0].size
		s.segs = s.segs[1:]
	}
	s.mu.Unlock()
	err := s.storeCursor(pos, durable)
	for _, seg := range gone {
		if seg == s.rdSeg {
			s.closeRead()
		}
		if rmErr := seg.remove(); rmErr != nil {
			s.log.Error("spool segment not removed", "segment", seg.path, "error", rmErr)
		}
	}
	if err != nil && len(gone) > 0 {
		// A full disk has room now. Until the cursor is stored, the first position of the
		// segments that are left stands for it.
		err = s.storeCursor(pos, durable)
	}
	return err
}

// storeCursor replaces the cursor file as a whole, so that a crash leaves the old or
// the new one.
func (s *Spool) storeCursor(pos uint64, durable bool) error {
	text := fmt.Sprintf("weir-cursor %d", pos)
	text = fmt.Sprintf("%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
	path := filepath.Join(s.cfg.Dir, cursorName)
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("store cursor: %w", err)
	}
	_, err = f.WriteString(text)
	if durable {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("store cursor: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("store cursor: %w", err)
	}
	if durable {
		return syncDir(s.cfg.Dir)
	}
	return nil
}
