package store

import (
	"math"
	"slices"

	"github.com/weirnet/weir/aggregator/store/segment"
	"github.com/weirnet/weir/api/flow"
)

// standing is what is known of a connection whose record comes.
type standing uint8

const (
	unknown standing = iota
	sole             // one record came, and it is said to be the only one
	several          // more came, or are to be expected
)

// seen remembers the connections whose records came last, so that a final record of a
// connection of which no other came can be told from the rest: such a record needs no
// folding. It forgets the oldest when it is full, and knows up to which time it may
// have forgotten.
type seen struct {
	gens  []*generation // newest first
	limit int           // generations
	slots int           // of each
	begin int64         // ms: what ended before may be forgotten
	asked uint32        // so that ahead is not left out
}

// generation is a hash table of fingerprints. The lowest bit of one says several.
type generation struct {
	slots []uint32
	n     int
	max   int64 // ms: newest end
}

const (
	maxGenerations = 4
	minSlots       = 1 << 12
)

// newSeen makes tables of about memory bytes; what ended before begin (ms) is not known.
func newSeen(memory, begin int64) *seen {
	slots := minSlots
	for int64(slots)*2*4*maxGenerations <= memory && slots < 1<<24 {
		slots *= 2
	}
	return &seen{gens: []*generation{newGeneration(slots)}, limit: maxGenerations, slots: slots, begin: begin}
}

func newGeneration(slots int) *generation {
	return &generation{slots: make([]uint32, slots), max: math.MinInt64}
}

func (s *seen) bytes() int64 { return int64(len(s.gens)) * int64(s.slots) * 4 }

// fingerprint gives the place and the 31 bits, never 0, by which a table knows a
// connection. Two of 2^31 at one place are taken for one, which costs time and no answer.
func fingerprint(conn uint64) (at uint64, fp uint32) {
	h := (conn ^ conn>>32) * 0x9E3779B97F4A7C15
	h ^= h >> 29
	fp = uint32(h) &^ 1
	if fp == 0 {
		fp = 2
	}
	return h >> 32, fp
}

func (g *generation) find(at uint64, fp uint32) *uint32 {
	mask := uint64(len(g.slots) - 1)
	for i := at & mask; ; i = (i + 1) & mask {
		if v := &g.slots[i]; *v == 0 || *v&^1 == fp {
			return v
		}
	}
}

// look tells what is known of a connection.
func (s *seen) look(conn uint64) (standing, int) {
	at, fp := fingerprint(conn)
	for i, g := range s.gens {
		if v := *g.find(at, fp); v != 0 {
			return sole + standing(v&1), i
		}
	}
	return unknown, 0
}

func (s *seen) put(conn uint64, st standing, end int64) {
	g := s.gens[0]
	if 3*g.n >= 2*len(g.slots) {
		s.turn()
		g = s.gens[0]
	}
	at, fp := fingerprint(conn)
	v := g.find(at, fp)
	if *v == 0 {
		g.n++
	}
	*v = fp | uint32(st-sole)
	g.max = max(g.max, end)
}

// turn begins a new generation and forgets the oldest.
func (s *seen) turn() {
	var g *generation
	if len(s.gens) == s.limit {
		g = s.gens[s.limit-1]
		s.begin = max(s.begin, g.max+1)
		s.gens = s.gens[:s.limit-1]
		clear(g.slots)
		g.n, g.max = 0, math.MinInt64
	} else {
		g = newGeneration(s.slots)
	}
	s.gens = append([]*generation{g}, s.gens...)
}

// ahead asks for the places in memory that add will look at of these records, all
// together: alone each would be waited for.
func (s *seen) ahead(recs []flow.Record) {
	var all uint32
	for _, g := range s.gens {
		mask := uint64(len(g.slots) - 1)
		for i := range recs {
			at, _ := fingerprint(recs[i].ConnID)
			all |= g.slots[at&mask]
		}
	}
	s.asked = all
}

// add takes a record in. alone says that it is the only one of its connection so far and
// the last; again that an older one may have been told so wrongly.
func (s *seen) add(r *flow.Record) (alone, again bool) {
	if !r.Has.Has(flow.FConnID) {
		return true, false // a row of its own
	}
	st, gen := s.look(r.ConnID)
	next := several
	switch {
	case st == several:
		if gen == 0 {
			s.gens[0].max = max(s.gens[0].max, r.End)
			return false, false
		}
	case st == sole:
		again = true
	case s.older(r):
		again = true
	case r.Final && r.Has.Has(flow.FStart) && r.Start >= s.begin:
		next = sole
	default:
	}
	s.put(r.ConnID, next, r.End)
	return next == sole, again
}

// older says that a record of the same connection may have been forgotten that was said to
// be the only one. The correlator goes on with a connection (first is false) only
// within its lingering after the final record, which is no time here.
func (s *seen) older(r *flow.Record) bool {
	if r.Has.Has(flow.FStart) && r.Start >= s.begin {
		return false
	}
	return s.begin > math.MinInt64 && (!r.Has.Has(flow.FFirst) || r.First)
}

// remember reads the connections of the newest segments, as many as are kept.
func (s *Store) remember() {
	s.seen = newSeen(s.cfg.Memory/seenShare, math.MinInt64)
	room := (s.seen.limit - 1) * s.seen.slots * 2 / 3
	from := len(s.parts)
	for from > 0 && room >= s.parts[from-1].rows() {
		from--
		room -= s.parts[from].rows()
	}
	for _, p := range s.parts[:from] {
		_, hi := p.span()
		s.seen.begin = max(s.seen.begin, hi+1)
	}
	for _, p := range slices.Clone(s.parts[from:]) {
		if err := s.recall(p); err != nil {
			_, hi := p.span()
			s.seen.begin = max(s.seen.begin, hi+1)
			s.log.Warn("connections of a history segment not read", "segment", p.path, "error", err)
		}
	}
}

func (s *Store) recall(p *part) error {
	f, err := s.acquire(p)
	if err != nil {
		return err
	}
	defer s.release(p)
	for g := range f.Groups {
		conn, err := f.Column(g, flow.FConnID)
		if err != nil {
			return err
		}
		if conn == nil {
			continue
		}
		st := several
		if f.Groups[g].Kind == segment.Sole {
			st = sole
		}
		for i, c := range conn.Nums {
			if !conn.Present(i) {
				continue
			}
			if was, gen := s.seen.look(c); was == unknown || gen > 0 || was == sole {
				next := st
				if was != unknown {
					next = several
				}
				s.seen.put(c, next, f.Groups[g].Max)
			}
		}
	}
	return nil
}

// contradicts tells whether a record that was not taken in may be of a connection of which
// one was said to be the only one.
func (s *seen) contradicts(r *flow.Record) bool {
	if !r.Has.Has(flow.FConnID) {
		return false
	}
	st, _ := s.look(r.ConnID)
	return st == sole || st == unknown && s.older(r)
}
