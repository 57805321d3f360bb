package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/store/rollup"
	"github.com/weirnet/weir/aggregator/store/segment"
)

const (
	rollDir = "rollup" // below Config.Dir; its files are named as the segments that they are made of
	// rollAgain is when a roll-up that failed is tried again.
	rollAgain = 10 * time.Minute
)

// ErrRollup is the error of a query that met a damaged roll-up: it is removed, ask again.
var ErrRollup = errors.New("a roll-up was damaged and is removed")

// rollOne makes the roll-up of one segment that will not be joined any more; false when
// there is none to make.
func (s *Store) rollOne(ctx context.Context, now time.Time) bool {
	p := s.unrolled(now)
	if p == nil {
		return false
	}
	r, err := s.roll(ctx, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, rollup.ErrNothing):
		p.rollAt = now.Add(1000 * time.Hour)
	case err != nil:
		p.rollAt = now.Add(rollAgain)
		s.Stats.RollupFailures.Add(1)
		s.log.Warn("history roll-up not made", "segment", p.path, "error", err)
	case p.gone:
		_ = os.Remove(r.path)
	default:
		p.roll = r
		s.bytes += r.size
		s.Stats.Rollups.Add(1)
	}
	return true
}

// unrolled finds a segment that waits for its roll-up.
func (s *Store) unrolled(now time.Time) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		settled := p.rows() >= s.cfg.FileRows || p.hour.Add(time.Hour+time.Minute).Before(now)
		if p.roll == nil && settled && !now.Before(p.rollAt) {
			return p
		}
	}
	return nil
}

func (s *Store) rollPath(p *part) string {
	return filepath.Join(s.cfg.Dir, rollDir, filepath.Base(filepath.Dir(p.path)), filepath.Base(p.path))
}

// roll makes the roll-up of a segment.
func (s *Store) roll(ctx context.Context, p *part) (*part, error) {
	f, err := s.acquire(p)
	if err != nil {
		return nil, err
	}
	defer s.release(p)
	r := &part{lo: p.lo, hi: p.hi, hour: p.hour, path: s.rollPath(p), rolled: true}
	err = s.create(r, func(out *os.File) error {
		r.size, r.meta, err = rollup.Write(ctx, out, f)
		return err
	})
	if errors.Is(err, segment.ErrCorrupt) {
		s.drop(p, err)
	}
	return r, err
}

// loadRollups finds the roll-ups of the segments. What is left of others, or damaged, is
// removed: it can be made again.
func (s *Store) loadRollups() error {
	files, err := filepath.Glob(filepath.Join(s.cfg.Dir, rollDir, hourPrefix+"*", "*"))
	if err != nil {
		return err
	}
	bySegment := map[string]*part{}
	for _, p := range s.parts {
		bySegment[s.rollPath(p)] = p
	}
	for _, path := range files {
		p := bySegment[path]
		if p == nil {
			if !strings.HasSuffix(path, suffix) && !strings.HasSuffix(path, tmpSuffix) {
				continue // not ours
			}
			if err := os.Remove(path); err != nil {
				return err
			}
			_ = os.Remove(filepath.Dir(path)) // fails while the hour has other files
			continue
		}
		r, err := openRollup(p, path)
		if errors.Is(err, segment.ErrCorrupt) {
			s.Stats.CorruptRollups.Add(1)
			s.log.Warn("history roll-up is damaged, it is made again", "rollup", path, "error", err)
			if err = os.Remove(path); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		p.roll = r
		s.bytes += r.size
	}
	return nil
}

func openRollup(p *part, path string) (*part, error) {
	f, err := segment.Open(path)
	if err != nil {
		return nil, err
	}
	r := &part{lo: p.lo, hi: p.hi, hour: p.hour, path: path, meta: f.Meta, rolled: true}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if f.Spool != p.meta.Spool || f.From != p.meta.From || f.To != p.meta.To {
		return nil, fmt.Errorf("%s: %w: it is of other records than its segment", path, segment.ErrCorrupt)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	r.size = st.Size()
	return r, nil
}

// dropRollup removes a damaged roll-up. Store.mu is not held.
func (s *Store) dropRollup(r *part, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if p.roll == r {
			p.roll = nil
			s.Stats.CorruptRollups.Add(1)
			s.log.Warn("history roll-up is damaged, it is made again", "rollup", r.path, "error", cause)
			s.unlink(r)
			return
		}
	}
}
