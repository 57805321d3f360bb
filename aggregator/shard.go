package aggregator

import (
	"sync/atomic"
	"time"

	"github.com/weirnet/weir/aggregator/correlate"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/ledger"
)

// shard owns one Correlator.
type shard struct {
	a    *Aggregator
	c    *correlate.Correlator
	in   chan part
	out  []flow.Record // correlated, not handed on yet
	live []flow.Record // first sights, not handed on yet
	pend []flow.Record // what moved and is not told, not handed on yet

	booked correlate.Stats // as far as the ledger knows
	held   [3]atomic.Uint64
	shown  atomic.Pointer[Shown]
}

// Shown is what a shard lets others see of itself.
type Shown struct {
	correlate.Stats
	Live       int // connections
	Identities int // distinct sets of names
}

func newShard(a *Aggregator, cfg correlate.Config) *shard {
	s := &shard{a: a, c: correlate.New(cfg), in: make(chan part, a.cfg.Queue)}
	s.out = make([]flow.Record, 0, a.cfg.Batch)
	s.shown.Store(&Shown{})
	return s
}

// askHealth is the time between two looks at the nodes' health.
const askHealth = time.Second

func (s *shard) run() {
	tick := time.NewTicker(s.a.cfg.Tick)
	defer tick.Stop()
	var asked time.Time
	for {
		select {
		case p, ok := <-s.in:
			if !ok {
				s.c.Drain(time.Now().UnixMilli(), s.emit)
				s.flush()
				s.book(0)
				s.show()
				return
			}
			s.take(p)
		case now := <-tick.C:
			if s.a.deps.Health != nil && now.Sub(asked) >= askHealth {
				asked = now
				s.c.SetHealth(s.a.deps.Health())
			}
			s.c.Expire(time.Now().UnixMilli(), s.emit)
			s.flush()
			s.book(0)
			s.show()
		}
	}
}

func (s *shard) take(p part) {
	now := time.Now().UnixMilli()
	var weight uint64
	var window [correlate.Window]*flow.Record
	n := len(p.b.Recs)
	if p.idx != nil {
		n = len(*p.idx)
	}
	for from := 0; from < n; from += len(window) {
		w := window[:min(len(window), n-from)]
		for k := range w {
			i := from + k
			if p.idx != nil {
				i = int((*p.idx)[i])
			}
			w[k] = &p.b.Recs[i]
			weight += correlate.Weight(w[k])
		}
		s.observe(now, w)
	}
	s.flush()
	s.book(weight)
	p.b.Release()
	if p.idx != nil {
		s.a.lists.Put(p.idx)
	}
}

// observe gives a window of records to the Correlator.
func (s *shard) observe(now int64, w []*flow.Record) {
	watched := s.a.deps.Live != nil || s.a.subs.n.Load() > 0
	s.c.Look(w)
	for k, r := range w {
		sight := s.c.ObserveLooked(now, k, r, s.emit)
		if watched && sight.News && !sight.Told {
			s.sight(r, sight.ConnID)
		}
		if s.a.deps.Pending != nil && !sight.Told && sight.ConnID != 0 {
			s.pending(r, sight)
		}
	}
}

// pending keeps a record with all that its connection moved since it was told last.
func (s *shard) pending(r *flow.Record, sight correlate.Sight) {
	if len(s.pend) == s.a.cfg.Batch {
		s.flush()
	}
	s.pend = append(s.pend, *r)
	p := &s.pend[len(s.pend)-1]
	if moved := s.c.Pending(sight, p); !moved && !sight.News {
		s.pend = s.pend[:len(s.pend)-1]
		return
	}
	p.SetConnID(sight.ConnID)
}

// emit takes one correlated record of the Correlator.
func (s *shard) emit(r *flow.Record) {
	s.out = append(s.out, *r)
	if len(s.out) == s.a.cfg.Batch {
		s.flush()
	}
}

// sight keeps a record for live views that no emission shows yet. Its deltas are
// left out: the emission that comes will tell them, and a view that adds up must
// not count them twice.
func (s *shard) sight(r *flow.Record, conn uint64) {
	if len(s.live) == s.a.cfg.Batch {
		s.flush()
	}
	s.live = append(s.live, *r)
	l := &s.live[len(s.live)-1]
	l.SetConnID(conn)
	for _, f := range [...]flow.FieldID{flow.FPacketsDelta, flow.FBytesDelta, flow.FRevPacketsDelta, flow.FRevBytesDelta} {
		l.Has.Clear(f)
	}
	l.PacketsDelta, l.BytesDelta, l.RevPacketsDelta, l.RevBytesDelta = 0, 0, 0, 0
}

// flush hands on, to live views first, which do not wait: what is told has to leave the
// pending amounts before a store has it.
func (s *shard) flush() {
	if len(s.out) > 0 {
		s.publish(s.out)
		s.a.deps.Out(s.out)
		s.out = s.out[:0]
	}
	if len(s.live) > 0 {
		s.publish(s.live)
		s.live = s.live[:0]
	}
	if len(s.pend) > 0 {
		s.a.deps.Pending(s.pend)
		s.pend = s.pend[:0]
	}
}

func (s *shard) publish(recs []flow.Record) {
	if s.a.deps.Live != nil {
		s.a.deps.Live(recs)
	}
	s.a.subs.publish(recs)
}

// book tells the ledger what happened since the last time; weight records left
// the queue. Held goes up before the queue goes down, so that a reader in between
// sees too much held rather than a hole.
func (s *shard) book(weight uint64) {
	st := s.c.Stats()
	r, n, b := s.c.Held()
	s.a.deps.Stage.In(ledger.Amount{Connections: st.InConnections - s.booked.InConnections, Bytes: st.InBytes - s.booked.InBytes})
	s.held[0].Store(r)
	s.held[1].Store(n)
	s.held[2].Store(b)
	s.a.deps.Stage.Out(ledger.Amount{
		Records:     st.OutRecords - s.booked.OutRecords,
		Connections: st.OutConnections - s.booked.OutConnections,
		Bytes:       st.OutBytes - s.booked.OutBytes,
	})
	s.a.queued.Add(-weight)
	s.booked = st
}

func (s *shard) show() {
	s.shown.Store(&Shown{Stats: s.c.Stats(), Live: s.c.Len(), Identities: s.c.Identities()})
}
