package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

const (
	hourPrefix = "hour="
	hourLayout = "2006-01-02T15"
	suffix     = ".parquet"
	badSuffix  = ".corrupt"
	tmpSuffix  = ".tmp"
	maxOpen    = 256 // files kept open between queries
	keepBad    = 8   // damaged files that are kept for a person to look at
)

// part is one segment file. Its name says which numbers lo..hi of heads it holds: a part
// that was joined from others covers theirs, so a crash between the new file and the
// removal of the old ones leaves nothing twice.
type part struct {
	lo, hi uint64
	hour   time.Time
	path   string
	size   int64
	meta   segment.Meta
	rolled bool // it is a roll-up

	// Guarded by Store.mu.
	file   *segment.File // nil while closed
	refs   int           // queries that read it
	roll   *part         // its roll-up, if there is one
	rollAt time.Time     // no attempt to make one before
	gone   bool          // out of the list: close the file when the last query is done
	dead   bool          // and remove it
}

func (p *part) rows() (n int) {
	for _, g := range p.meta.Groups {
		n += g.Rows
	}
	return n
}

func (p *part) has(kind segment.Kind) bool {
	return slices.ContainsFunc(p.meta.Groups, func(g segment.Group) bool { return g.Kind == kind })
}

func (p *part) span() (lo, hi int64) {
	lo, hi = p.meta.Groups[0].Min, p.meta.Groups[0].Max
	for _, g := range p.meta.Groups {
		lo, hi = min(lo, g.Min), max(hi, g.Max)
	}
	return lo, hi
}

func (s *Store) partPath(hour time.Time, lo, hi uint64) string {
	return filepath.Join(s.cfg.Dir, hourPrefix+hour.UTC().Format(hourLayout), fmt.Sprintf("%012d-%012d%s", lo, hi, suffix))
}

// parsePart reads what partPath wrote: the numbers in a file's name.
func parsePart(name string, lo, hi *uint64) (int, error) {
	return fmt.Sscanf(name, "%d-%d"+suffix, lo, hi)
}

// load finds the segments of earlier processes, oldest first.
func (s *Store) load() error {
	dirs, err := filepath.Glob(filepath.Join(s.cfg.Dir, hourPrefix+"*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		hour, err := time.Parse(hourLayout, strings.TrimPrefix(filepath.Base(d), hourPrefix))
		if err != nil {
			continue // not ours
		}
		if err := s.loadHour(d, hour); err != nil {
			return err
		}
	}
	slices.SortFunc(s.parts, func(a, b *part) int {
		if a.lo != b.lo {
			return int(int64(a.lo) - int64(b.lo))
		}
		return int(int64(b.hi) - int64(a.hi)) // the wider first
	})
	kept := s.parts[:0]
	for _, p := range s.parts {
		if n := len(kept); n > 0 && p.hi <= kept[n-1].hi {
			// What it holds was joined into the one before; the crash came before its removal.
			if err := os.Remove(p.path); err != nil {
				return err
			}
			continue
		}
		kept = append(kept, p)
		s.bytes += p.size
		s.seq = max(s.seq, p.hi)
	}
	s.parts = kept
	return s.loadRollups()
}

func (s *Store) loadHour(dir string, hour time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			if err := os.Remove(path); err != nil { // a crash while it was written
				return err
			}
			continue
		}
		p := &part{hour: hour, path: path}
		if n, err := parsePart(strings.TrimSuffix(e.Name(), badSuffix), &p.lo, &p.hi); n != 2 || err != nil {
			continue // not ours
		}
		s.seq = max(s.seq, p.hi) // also of a damaged one: its number is taken
		if strings.HasSuffix(e.Name(), badSuffix) {
			continue
		}
		f, err := segment.Open(path)
		if errors.Is(err, segment.ErrCorrupt) {
			s.setAside(p, err)
			continue
		}
		if err != nil {
			return err
		}
		p.meta = f.Meta
		if err := f.Close(); err != nil {
			return err
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		p.size = st.Size()
		s.parts = append(s.parts, p)
	}
	return nil
}

// setAside renames a damaged segment, so that nobody reads it again and a person can.
func (s *Store) setAside(p *part, cause error) {
	s.Stats.Corrupt.Add(1)
	lost, n := "damaged_segment"+ledger.UnknownSize, uint64(0)
	if len(p.meta.Groups) > 0 {
		lost, n = "damaged_segment", uint64(p.rows())
	}
	s.Stats.CorruptRows.Add(n)
	s.left(lost, ledger.Amount{Records: n})
	s.log.Error("history segment is damaged and set aside, the rest goes on", "segment", p.path, "as", p.path+badSuffix, "error", cause)
	if err := os.Rename(p.path, p.path+badSuffix); err != nil {
		s.log.Error("damaged history segment not renamed", "segment", p.path, "error", err)
	}
	old, err := filepath.Glob(filepath.Join(s.cfg.Dir, hourPrefix+"*", "*"+badSuffix))
	if err != nil {
		return
	}
	slices.Sort(old)
	for len(old) > keepBad {
		if err := os.Remove(old[0]); err != nil {
			s.log.Error("damaged history segment not removed", "segment", old[0], "error", err)
		}
		old = old[1:]
	}
}

// drop takes a damaged segment out of the list and sets it aside.
func (s *Store) drop(p *part, cause error) {
	s.mu.Lock()
	i := slices.Index(s.parts, p)
	p.gone = true
	if i >= 0 {
		s.parts = slices.Delete(s.parts, i, i+1)
		s.bytes -= p.size
		s.unroll(p)
	}
	s.cache.forget(p)
	s.mu.Unlock()
	if i >= 0 {
		s.setAside(p, cause)
	}
}

// writePart writes the head's rows as a new segment and syncs it. What fails leaves no
// file.
func (s *Store) writePart(blocks []kindBlock, h *head) (*part, error) {
	var fields []flow.FieldID
	for _, b := range blocks {
		fields = append(fields, b.Fields()...)
	}
	n := s.seq + 1
	p := &part{lo: n, hi: n, hour: h.hour, path: s.partPath(h.hour, n, n)}
	meta := segment.Meta{Spool: s.spool, From: h.from, To: h.to, Again: h.again}
	return p, s.create(p, func(f *os.File) error {
		w, err := segment.NewWriter(f, fields)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			if err := w.WriteBlock(b.Block, b.kind, runtime.GOMAXPROCS(0)); err != nil {
				return err
			}
		}
		p.size, err = w.Close(meta)
		meta.Groups = w.Groups()
		p.meta = meta
		return err
	})
}

// create writes a file under another name, syncs it and gives it its name.
func (s *Store) create(p *part, write func(*os.File) error) error {
	dir := filepath.Dir(p.path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(p.path+tmpSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(p.path+tmpSuffix, p.path)
	}
	if err == nil {
		err = errors.Join(syncDir(dir), syncDir(s.cfg.Dir))
	}
	if err != nil {
		if rm := os.Remove(p.path + tmpSuffix); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// acquire opens a part for reading; release gives it back.
func (s *Store) acquire(p *part) (*segment.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.file == nil {
		f, err := segment.Open(p.path)
		if err != nil {
			return nil, err
		}
		p.file = f
		s.files++
	}
	p.refs++
	return p.file, nil
}

func (s *Store) release(p *part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.refs--; p.refs > 0 {
		return
	}
	if p.gone || s.files > maxOpen {
		s.finish(p)
	}
}

// finish closes the file of a part that nobody reads, and removes it if it is dead.
func (s *Store) finish(p *part) {
	if err := s.closeFile(p); err != nil {
		s.log.Warn("history segment not closed", "segment", p.path, "error", err)
	}
	if !p.dead {
		return
	}
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("history segment not removed", "segment", p.path, "error", err)
	}
	_ = os.Remove(filepath.Dir(p.path)) // fails while the hour has other files
}

func (s *Store) closeFile(p *part) error {
	if p.file == nil {
		return nil
	}
	f := p.file
	p.file = nil
	s.files--
	return f.Close()
}

// unlink removes a part that left the list, as soon as no query reads it.
func (s *Store) unlink(p *part) {
	p.gone, p.dead = true, true
	s.bytes -= p.size
	s.unroll(p)
	s.cache.forget(p)
	if p.refs == 0 {
		s.finish(p)
	}
}

// unroll removes the roll-up of a part.
func (s *Store) unroll(p *part) {
	if p.roll != nil {
		s.unlink(p.roll)
		p.roll = nil
	}
}
