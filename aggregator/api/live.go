package api

import (
	"slices"
	"sync"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// Live holds what the correlator has seen and not told yet: first sights, changed
// outcomes and ends of connections, and what they moved since they were told last. Queries
// read it beside the history, so that a connection is found seconds after it opened and
// not at its first export. A sight becomes the told record, which goes when the history has
// it (Stored): what moved is always in one of the places, and never in two. The long history
// has its records later; for it they stay longer (StoredLong).
//
// It is bounded: what does not fit is counted in Lost and is found when it is told.
type Live struct {
	mu    sync.Mutex
	max   int
	conns map[uint64]*sight
	told  shelf // told records of connections that had a sight
	long  shelf // told records
	lost  uint64
	swept time.Time
}

// shelf holds told records until a history has them.
type shelf struct {
	max   int // 0: there is no such history
	conns map[uint64][]*sight
	n     int
}

type sight struct {
	rec  *flow.Record // never changed
	seen time.Time
}

const (
	// toldKeep is longer than a history that works takes to have a record.
	toldKeep = time.Minute
	// untoldKeep is longer than the correlator may hold a connection back.
	untoldKeep = 10 * time.Minute
)

// NewLive makes room for n connections, 1.4 KB each, and for as many told records until the
// history has them.
func NewLive(n int) *Live {
	return &Live{max: n, conns: map[uint64]*sight{}, told: shelf{max: n, conns: map[uint64][]*sight{}}}
}

// KeepLong says whether there is a long history, for which as many told records more are kept.
func (l *Live) KeepLong(keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if keep != (l.long.max > 0) {
		l.long = shelf{conns: map[uint64][]*sight{}}
		if keep {
			l.long.max = l.max
		}
	}
}

// Publish takes records as the correlator publishes them: told ones, and sights, which
// have no field records.
func (l *Live) Publish(recs []flow.Record, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	for i := range recs {
		r := &recs[i]
		switch {
		case !r.Has.Has(flow.FConnID):
		case r.Has.Has(flow.FRecords):
			l.tell(r, now)
		default:
			l.sight(r, now)
		}
	}
}

// Told takes told records of what may be others besides.
func (l *Live) Told(recs []flow.Record, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	for i := range recs {
		if recs[i].Has.Has(flow.FConnID) && recs[i].Has.Has(flow.FRecords) {
			l.tell(&recs[i], now)
		}
	}
}

// Stored takes the records that queries find in the history from now on.
func (l *Live) Stored(recs []flow.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told.stored(recs)
}

// StoredLong is Stored for the long history.
func (l *Live) StoredLong(recs []flow.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.long.stored(recs)
}

func (s *shelf) stored(recs []flow.Record) {
	for i := 0; i < len(recs) && s.n > 0; i++ {
		r := &recs[i]
		list, ok := s.conns[r.ConnID]
		if !ok || !r.Has.Has(flow.FConnID) {
			continue
		}
		left := slices.DeleteFunc(list, func(s *sight) bool { return s.rec.Seq <= r.Seq })
		s.n -= len(list) - len(left)
		if s.conns[r.ConnID] = left; len(left) == 0 {
			delete(s.conns, r.ConnID)
		}
	}
}

func (l *Live) sweep(now time.Time) {
	if now.Sub(l.swept) < time.Second {
		return
	}
	l.swept = now
	for id, s := range l.conns {
		if now.Sub(s.seen) > untoldKeep {
			delete(l.conns, id)
		}
	}
	l.told.sweep(now)
	l.long.sweep(now)
}

func (s *shelf) sweep(now time.Time) {
	for id, list := range s.conns {
		if now.Sub(list[0].seen) > toldKeep {
			s.n -= len(list)
			delete(s.conns, id)
		}
	}
}

// tell puts a told record in the place of the connection's sight.
func (l *Live) tell(r *flow.Record, now time.Time) {
	had := l.conns[r.ConnID] != nil
	delete(l.conns, r.ConnID)
	if !had && l.long.max == 0 {
		return // no query has seen it: the history shows it soon enough
	}
	rec := *r
	s := &sight{rec: &rec, seen: now}
	if had && !l.told.put(s) {
		l.lost++
	}
	l.long.put(s) // what has no room waits for the long history, and answers say how many do
}

func (s *shelf) put(r *sight) bool {
	if s.n >= s.max {
		return false
	}
	s.conns[r.rec.ConnID] = append(s.conns[r.rec.ConnID], r)
	s.n++
	return true
}

func (l *Live) sight(r *flow.Record, now time.Time) {
	s := l.conns[r.ConnID]
	if s == nil && len(l.conns) >= l.max {
		l.lost++
		return
	}
	l.conns[r.ConnID] = &sight{rec: merged(r, s), seen: now}
}

// merged puts a newer sight over an older one, whose fields the new one lacks stay: the two
// ends of a connection each know their own.
func merged(r *flow.Record, old *sight) *flow.Record {
	rec := *r
	if old != nil {
		for f := range flow.FieldID(flow.NumFields) {
			if old.rec.Has.Has(f) && !rec.Has.Has(f) {
				rec.Copy(f, old.rec)
			}
		}
		rec.End = max(rec.End, old.rec.End)
	}
	if !rec.Has.Has(flow.FBytesDelta) && !rec.Has.Has(flow.FPacketsDelta) { // an instant
		rec.Has.Clear(flow.FSince)
		rec.Since = 0
	}
	// It has no place among the records that were told.
	rec.Has.Clear(flow.FSeq)
	rec.Seq = 0
	return &rec
}

// Records gives what the history does not have. The records are not changed any more.
func (l *Live) Records() []*flow.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.with(&l.told)
}

// RecordsLong gives what the long history does not have, and how many of it were told. What
// was stored a moment ago may be among it.
func (l *Live) RecordsLong() (recs []*flow.Record, told int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.with(&l.long), l.long.n
}

func (l *Live) with(s *shelf) []*flow.Record {
	out := make([]*flow.Record, 0, len(l.conns)+s.n)
	for _, s := range l.conns {
		out = append(out, s.rec)
	}
	for _, list := range s.conns {
		for _, s := range list {
			out = append(out, s.rec)
		}
	}
	return out
}

// Len is the number of records held, Lost that of sights that found no room.
func (l *Live) Len() (held int, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns) + max(l.told.n, l.long.n), l.lost
}
