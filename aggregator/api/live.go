package api

import (
	"sync"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// Live holds what the correlator has seen and not told yet: first sights, changed
// outcomes and ends of connections. Queries read it beside the history, so that a
// connection is found seconds after it opened and not at its first export.
//
// It is bounded: what does not fit is counted in Lost and is found when it is told. A
// sight goes when its connection has been told for a while, so that it is never in
// neither place.
type Live struct {
	mu    sync.Mutex
	max   int
	conns map[uint64]*sight
	lost  uint64
	swept time.Time
}

type sight struct {
	rec  flow.Record
	told time.Time // zero while it is not
	seen time.Time
}

const (
	// toldKeep is longer than a record takes from the correlator into the history.
	toldKeep = 5 * time.Second
	// untoldKeep is longer than the correlator may hold a connection back.
	untoldKeep = 10 * time.Minute
)

// NewLive makes room for n connections, 1.4 KB each.
func NewLive(n int) *Live { return &Live{max: n, conns: make(map[uint64]*sight)} }

// Publish takes records as the correlator publishes them: told ones, and sights, which
// have no field records.
func (l *Live) Publish(recs []flow.Record, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) >= time.Second {
		l.swept = now
		for id, s := range l.conns {
			if !s.told.IsZero() && now.Sub(s.told) > toldKeep || now.Sub(s.seen) > untoldKeep {
				delete(l.conns, id)
			}
		}
	}
	for i := range recs {
		r := &recs[i]
		if !r.Has.Has(flow.FConnID) {
			continue
		}
		s := l.conns[r.ConnID]
		if r.Has.Has(flow.FRecords) {
			if s != nil {
				s.told = now
			}
			continue
		}
		if s == nil {
			if len(l.conns) >= l.max {
				l.lost++
				continue
			}
			s = &sight{}
			l.conns[r.ConnID] = s
		}
		s.take(r, now)
	}
}

// take puts a newer sight over an older one, whose fields the new one lacks stay: the two
// ends of a connection each know their own.
func (s *sight) take(r *flow.Record, now time.Time) {
	old := s.rec
	s.rec, s.seen, s.told = *r, now, time.Time{}
	for f := range flow.FieldID(flow.NumFields) {
		if old.Has.Has(f) && !s.rec.Has.Has(f) {
			s.rec.Copy(f, &old)
		}
	}
	s.rec.End = max(s.rec.End, old.End)
	// A sight is an instant: it has no deltas to spread, and no place among the records
	// that were told.
	for _, f := range [...]flow.FieldID{flow.FSince, flow.FSeq} {
		s.rec.Has.Clear(f)
	}
	s.rec.Since, s.rec.Seq = 0, 0
}

// Records copies what is held.
func (l *Live) Records() []flow.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]flow.Record, 0, len(l.conns))
	for _, s := range l.conns {
		out = append(out, s.rec)
	}
	return out
}

// Len is the number of connections held, Lost that of sights that found no room.
func (l *Live) Len() (held int, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns), l.lost
}
