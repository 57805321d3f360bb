package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

const (
	cursorName = "cursor"
	idName     = "id"
	lockName   = "lock"
	numFields  = flow.NumFields
)

// Open finds what the process before left, cuts off a torn end, and is ready for
// Append and Read. Run must be started for anything to be written. The directory is
// locked until Close.
func Open(cfg Config, deps Deps) (*Spool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{
		cfg: cfg, log: deps.Logger, lost: deps.Lost,
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		flush: make(chan chan error), done: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.lost == nil {
		s.lost = func(string, ledger.Amount) {}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	if err := s.takeLock(); err != nil {
		return nil, fmt.Errorf("spool %s: %w", cfg.Dir, err)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool %s: %w", cfg.Dir, err), s.lock.Close())
	}
	return s, nil
}

// Close gives the directory free. Call it after Run has ended.
func (s *Spool) Close() error {
	s.closeRead()
	return s.lock.Close()
}

func (s *Spool) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.cfg.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("another process uses it (%w): give each sink its own directory", err), f.Close())
	}
	s.lock = f
	return nil
}

func (s *Spool) recover() error {
	if err := s.readID(); err != nil {
		return err
	}
	s.readCursor()
	names, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*"+segSuffix))
	if err != nil {
		return err
	}
	slices.Sort(names) // positions have 20 digits: the order of names is that of records
	for i, path := range names {
		if err := s.recoverSegment(path, i == len(names)-1); err != nil {
			return err
		}
	}
	s.mendEnds()
	s.end = s.cursor
	if n := len(s.segs); n > 0 {
		s.end = max(s.end, s.segs[n-1].end)
	}
	return s.skipRead(s.cursor)
}

func (s *Spool) readID() error {
	path := filepath.Join(s.cfg.Dir, idName)
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) == 32 {
		s.id = strings.TrimSpace(string(b))
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var raw [16]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	s.id = hex.EncodeToString(raw[:])
	return os.WriteFile(path, []byte(s.id+"\n"), 0o600)
}

// readCursor takes the stored position. Without a whole one everything is delivered again.
func (s *Spool) readCursor() {
	b, err := os.ReadFile(filepath.Join(s.cfg.Dir, cursorName))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var pos uint64
	var sum uint32
	if err == nil {
		_, err = fmt.Sscanf(string(b), "weir-cursor %d %08x\n", &pos, &sum)
	}
	if err == nil && crc32.Checksum(fmt.Appendf(nil, "weir-cursor %d", pos), castagnoli) != sum {
		err = errors.New("checksum is wrong")
	}
	if err != nil {
		s.log.Error("spool cursor is damaged, all that the spool holds is delivered again", "dir", s.cfg.Dir, "error", err)
		return
	}
	s.cursor = pos
}

func (s *Spool) recoverSegment(path string, last bool) error {
	sc, err := scanSegment(path, last)
	switch {
	case err != nil && sc.path == "":
		return err
	case err != nil:
		return s.setAside(path, err)
	}
	if sc.torn > 0 && last {
		s.torn.Add(uint64(sc.torn))
		s.log.Warn("spool had a torn end, cut off", "segment", path, "bytes", sc.torn)
		if err := os.Truncate(path, sc.size-sc.torn); err != nil {
			return err
		}
		sc.size -= sc.torn
	}
	if sc.amt.Records == 0 && !sc.damaged {
		return os.Remove(path)
	}
	if sc.damaged {
		s.log.Error("spool segment has damaged blocks", "segment", path)
	}
	seg := sc.segment
	s.segs = append(s.segs, &seg)
	s.bytes += seg.size
	return nil
}

// setAside renames a segment that cannot be read as a whole, so that a person can look
// at it, and keeps its place in the index: the reader books it as lost. One set aside
// for each reason is kept.
func (s *Spool) setAside(path string, cause error) error {
	why := LostCorrupt
	if errors.Is(cause, errSchema) {
		why = LostSchema
	}
	s.damaged.Add(1)
	s.log.Error("spool segment is set aside", "segment", path, "as", why, "error", cause)
	old, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*."+why))
	if err != nil {
		return err
	}
	for _, o := range old {
		if err := os.Remove(o); err != nil {
			return err
		}
	}
	if err := os.Rename(path, path+"."+why); err != nil {
		return err
	}
	var first uint64
	if n, _ := fmt.Sscanf(filepath.Base(path), "%d"+segSuffix, &first); n == 0 {
		return nil // not a name of ours: nothing is known of its records
	}
	s.segs = append(s.segs, &segment{path: path + "." + why, why: why, first: first, end: first})
	return nil
}

// mendEnds closes the gaps between segments: what lay between the last block that
// could be found and the next segment's first position was written and is damaged.
func (s *Spool) mendEnds() {
	for i := range s.segs[:max(0, len(s.segs)-1)] {
		g, next := s.segs[i], s.segs[i+1]
		if next.first > g.end {
			g.amt.Records += next.first - g.end
			g.end = next.first
		}
	}
}

// skipRead sets the reading position and works out what is left to read.
func (s *Spool) skipRead(pos uint64) error {
	s.closeRead()
	s.rpos, s.cursor = pos, pos
	s.end = max(s.end, pos)
	s.onDisk = ledger.Amount{}
	for len(s.segs) > 0 && s.segs[0].end <= pos {
		if err := s.segs[0].remove(); err != nil {
			return err
		}
		s.bytes -= s.segs[0].size
		s.segs = s.segs[1:]
	}
	for i, g := range s.segs {
		g.read = ledger.Amount{}
		if i == 0 && pos > g.first {
			done, err := s.amountBefore(g, pos)
			if err != nil {
				return err
			}
			g.read = done
		}
		s.onDisk = s.onDisk.Plus(g.unread())
	}
	s.recovery = s.onDisk
	return nil
}

// amountBefore adds up what a segment holds before a position.
func (s *Spool) amountBefore(g *segment, pos uint64) (a ledger.Amount, err error) {
	if g.why != "" {
		return ledger.Amount{Records: pos - g.first}, nil
	}
	f, err := os.Open(g.path)
	if err != nil {
		return a, err
	}
	defer f.Close()
	r := blockReader{f: f, off: segHeader, dec: decoder{fields: g.fields}}
	at := g.first
	for {
		k, payload, _, damaged, err := r.next(g.size)
		if err != nil || k.pos >= pos {
			// Damaged blocks have no amounts but their number of records.
			a.Records = pos - g.first
			return a, nil
		}
		if damaged || k.pos < at {
			continue
		}
		at = k.end()
		if k.end() <= pos {
			a = a.Plus(k.amounts)
			continue
		}
		recs, err := r.dec.block(payload, int(k.amounts.Records), nil)
		if err == nil {
			a = a.Plus(amountOfAll(recs[:pos-k.pos]))
		}
	}
}

// SkipTo sets the reading position to one that the destination itself has stored, which
// may be before or behind the cursor. Call it before Run and the first Read.
func (s *Spool) SkipTo(pos uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segs) > 0 && pos < s.segs[0].first {
		pos = s.segs[0].first
	}
	return s.skipRead(pos)
}
