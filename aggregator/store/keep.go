package store

import (
	"context"
	"slices"
	"time"

	"github.com/weirnet/weir/internal/ledger"
)

// keepEvery is how often segments are looked at for joining and removal.
const keepEvery = 5 * time.Second

// Run joins small segments and removes old ones until ctx is done.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.Keep(ctx, s.now())
		}
	}
}

// Ready implements the daemon's task.
func (s *Store) Ready() bool { return true }

// String is the task's name.
func (s *Store) String() string { return "history" }

// Keep removes what is too old or too much at now, joins what is small and rolls up what
// will not be joined any more.
func (s *Store) Keep(ctx context.Context, now time.Time) {
	s.retain(now)
	for ctx.Err() == nil && s.compactOne(ctx, now) {
	}
	for ctx.Err() == nil && s.rollOne(ctx, now) {
	}
}

// retain removes segments by age and by size. The newest stays: it says where the spool
// goes on.
func (s *Store) retain(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := now.Add(-s.cfg.MaxAge).UnixMilli()
	for i := 0; i < len(s.parts)-1; {
		p := s.parts[i]
		_, hi := p.span()
		if hi >= oldest || !p.hour.Before(now.Add(-s.cfg.MaxAge)) {
			i++
			continue
		}
		s.parts = slices.Delete(s.parts, i, i+1)
		s.Stats.RemovedAge.Add(1)
		s.remove(p, "")
	}
	for s.bytes > s.cfg.MaxBytes && len(s.parts) > 1 {
		p := s.parts[0]
		s.parts = s.parts[1:]
		s.Stats.RemovedSize.Add(1)
		s.remove(p, "")
	}
}

// makeRoom removes the oldest segment of an earlier hour than the one being written; false
// if there is none.
func (s *Store) makeRoom(hour time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.parts) < 2 || !s.parts[0].hour.Before(hour) {
		return false
	}
	p := s.parts[0]
	s.parts = s.parts[1:]
	s.Stats.RemovedFull.Add(1)
	s.log.Warn("disk is full: oldest history segment removed", "segment", p.path, "rows", p.rows())
	s.remove(p, "disk_full")
	return true
}

// remove lets the records of a segment go that left the list.
func (s *Store) remove(p *part, lost string) {
	n := uint64(p.rows())
	s.Stats.RemovedRows.Add(n)
	s.left(lost, ledger.Amount{Records: n})
	s.unlink(p)
}

// left books records that leave: as lost for a reason, or as out without one.
func (s *Store) left(lost string, a ledger.Amount) {
	s.leaves.In(a)
	if lost == "" {
		s.leaves.Out(a)
		return
	}
	s.leaves.Lost(lost, a)
}
