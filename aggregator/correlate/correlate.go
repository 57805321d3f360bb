// Package correlate joins what the two nodes of a connection said about it.
//
// Idea: a connection is a tuple after translation and a start time. Each end
// keeps running totals, so every delta is computed from totals and neither a
// lost record, a repeated one nor a restarted agent can count bytes twice or
// make them vanish. One Correlator is one shard, owned by one goroutine.
//
// In: exporters' records (Observe) and the time in milliseconds. Out: correlated
// records through the emit callback, which must copy what it keeps. It does no
// I/O, reads no clock and starts no goroutine. What it does not do: it names
// nothing (exporters do) and stores nothing.
//
// If we die here, what was held is lost: Held tells how much. The exporters'
// next records carry totals and their own deltas, so that a successor goes on
// from its first sight of a connection, and the gap shows in their sequence
// numbers.
package correlate

import (
	"errors"
	"fmt"

	"github.com/weirnet/weir/api/flow"
)

// tickMs is the resolution of deadlines. 32 bits of it last four years of one process.
const tickMs = 32

// Config is the policy of a Correlator. Times are in milliseconds.
type Config struct {
	ActiveMs         int64  // a live connection with new data is told this often
	InactiveMs       int64  // a connection without records is forgotten after this time
	HalfMs           int64  // how long the first end waits for the other before it is told alone
	FinalGraceMs     int64  // how long the first final end waits for the other's
	LingerMs         int64  // how long an ended connection is remembered for late records
	ClockToleranceMs int64  // how far the two nodes' start times of one connection may differ
	MaxConnections   int    // cap; the least recently updated are told and forgotten beyond it
	MaxIdentities    int    // cap on distinct sets of names; the same policy
	Instance         uint64 // salt of record ids: unique per replica and life of the process
}

// DefaultConfig gives Antrea's timeouts and a cap of a million connections.
func DefaultConfig() Config {
	return Config{
		ActiveMs: 60_000, InactiveMs: 90_000, HalfMs: 10_000, FinalGraceMs: 10_000, LingerMs: 10_000,
		ClockToleranceMs: 5_000, MaxConnections: 1 << 20, MaxIdentities: 1 << 18,
	}
}

// Validate reports the first value that cannot work.
func (c *Config) Validate() error {
	for _, v := range []struct {
		name string
		ms   int64
	}{
		{"active", c.ActiveMs},
		{"inactive", c.InactiveMs},
		{"half", c.HalfMs},
		{"final grace", c.FinalGraceMs},
		{"linger", c.LingerMs},
	} {
		if v.ms < tickMs || v.ms > 24*3600*1000 {
			return fmt.Errorf("correlate: %s time is %d ms: it must lie between %d ms and 24 h", v.name, v.ms, tickMs)
		}
	}
	switch {
	case c.ClockToleranceMs < 0:
		return errors.New("correlate: clock tolerance is negative: give 0 or more")
	case c.MaxConnections < 1 || c.MaxConnections > 1<<28:
		return fmt.Errorf("correlate: cap of %d connections: it must lie between 1 and 2^28", c.MaxConnections)
	case c.MaxIdentities < 4:
		return errors.New("correlate: cap of identities is below 4: one connection needs up to two")
	}
	return nil
}

// Stats counts what a Correlator did since it was made.
type Stats struct {
	InRecords     uint64 // exporters' records taken in
	InConnections uint64 // connections begun
	InBytes       uint64 // growth of the connections' common totals, both directions
	OutRecords    uint64 // exporters' records that emissions stood for
	OutConnections,
	OutBytes uint64
	Emitted        uint64 // records given to emit
	Passed         uint64 // records of foreign exporters, or already correlated, passed through
	Joined         uint64 // connections whose second end arrived
	HalfTold       uint64 // connections told at their deadline with one end
	HalfMended     uint64 // of these, how many were joined later
	Reused         uint64 // new connections on a tuple that was still known
	Silent         uint64 // records handed over from another replica to which nobody added anything
	Repeated       uint64 // records that brought nothing new (resent, late)
	Evicted        uint64 // connections told and forgotten early because of the caps
	Forgotten      uint64 // connections forgotten after their time
	RecoveredBytes uint64 // bytes that an end's totals held beyond its own deltas: records lost on the wire
	RepeatedBytes  uint64 // bytes of own deltas that totals showed were counted before
	UnknownTCP     uint64 // records whose TCP state was not kept: too many distinct words
}

// Sight says what an observation was.
type Sight struct {
	ConnID uint64 // unified number of the connection; 0 for a record passed through
	News   bool   // a new end, another outcome or an end
	Told   bool   // and it was emitted at once; otherwise it is worth showing before the next emission
	entry  uint32 // of a connection that was not emitted at once
}

// Correlator is one shard.
type Correlator struct {
	cfg     Config
	epoch   int64 // ms of tick 0
	nowTick uint32
	started bool

	slab   slab
	index  index
	ids    identities
	wheel  wheel
	tcp    words
	alias  map[uint32]alias
	stats  Stats
	held   held
	serial uint32
	hand   uint32 // clock hand of eviction
	out    flow.Record
	ahead  [Window]looked
	health map[string]Health
	warmth uint64 // what Look has read, so that it is read
}

type held struct{ records, conns, bytes uint64 }

// alias is the client as it was before the entry node translated it.
type alias struct {
	ip   [16]byte
	port uint16
}

// New makes an empty Correlator. The configuration must be valid.
func New(cfg Config) *Correlator {
	c := &Correlator{cfg: cfg, alias: map[uint32]alias{}}
	c.index.init(1 << 10)
	c.ids.init()
	c.wheel.init()
	c.tcp.init()
	return c
}

// Stats gives the counts so far.
func (c *Correlator) Stats() Stats { return c.stats }

// Len is the number of live connections.
func (c *Correlator) Len() int { return c.index.used + c.slab.chained }

// Identities is the number of distinct sets of names in use.
func (c *Correlator) Identities() int { return c.ids.live }

// Held tells what was taken in and not yet told: exporters' records, connections
// never told, and bytes of the common totals.
func (c *Correlator) Held() (records, connections, bytes uint64) {
	return c.held.records, c.held.conns, c.held.bytes
}

// Observe takes one record. It may normalize r in place (empty names become
// absent). emit may be called before it returns.
func (c *Correlator) Observe(nowMs int64, r *flow.Record, emit func(*flow.Record)) Sight {
	normalize(r)
	l := looked{key: KeyOf(r), side: uint8(sideOf(r))}
	l.hash = hashTuple(&l.key)
	return c.observe(nowMs, r, &l, emit)
}

func (c *Correlator) observe(nowMs int64, r *flow.Record, l *looked, emit func(*flow.Record)) Sight {
	c.clock(nowMs)
	c.stats.InRecords += Weight(r)
	if passes(r) {
		c.pass(r, emit)
		return Sight{}
	}
	side, key, h := int(l.side), &l.key, l.hash
	i, rel := c.find(key, h, side, r)
	if rel == relRepeat {
		c.repeat(i, side, r)
		return Sight{ConnID: c.slab.at(i).connID}
	}
	if i == 0 {
		i = c.create(key, h, r, emit)
	}
	e := c.slab.at(i)
	before := e.pendingBytes()
	grown := c.update(i, e, side, r)
	after := e.pendingBytes()
	// The pending amount may shrink once: where the second end shows that another
	// replica has told more already.
	c.stats.InBytes += after - before
	c.held.bytes += after - before
	e.records++
	c.held.records++
	if e.silent() {
		c.hush(e)
	}
	told := e.told
	c.react(i, e, grown, emit)
	sight := Sight{ConnID: e.connID, News: grown&(newEnd|newOutcome|newFinal) != 0, Told: e.told != told}
	if grown != 0 && !sight.Told && !e.silent() {
		sight.entry = i
	}
	return sight
}

// Pending writes into r, the record that was observed last, what its connection moved since
// it was told last, over both ends, and since when. It reports false where nothing is pending.
func (c *Correlator) Pending(s Sight, r *flow.Record) bool {
	if s.entry == 0 {
		return false
	}
	e := c.slab.at(s.entry)
	src, dst := &e.ends[sideSrc], &e.ends[sideDst]
	var delta [4]uint64
	moved := false
	for k := range delta {
		r.Has.Clear(commonDelta[k])
		if src.known(k) || dst.known(k) {
			r.Has.Set(commonDelta[k])
			delta[k] = e.common(k) - e.base[k]
			moved = moved || delta[k] > 0
		}
	}
	r.PacketsDelta, r.BytesDelta, r.RevPacketsDelta, r.RevBytesDelta = delta[0], delta[1], delta[2], delta[3]
	r.SetConnID(e.connID)
	r.Has.Clear(flow.FSince)
	switch {
	case e.told > 0:
		r.SetSince(min(e.upTo, r.End))
	case r.Has.Has(flow.FStart):
		r.SetSince(min(r.Start, r.End))
	default:
	}
	return moved
}

// clock moves time on; it never goes back.
func (c *Correlator) clock(nowMs int64) {
	if !c.started {
		c.started = true
		c.epoch = nowMs - tickMs // so that tick 0 means never
		c.nowTick = 1
		c.wheel.at = 1
		return
	}
	if t := (nowMs - c.epoch) / tickMs; t > int64(c.nowTick) {
		c.nowTick = uint32(t)
	}
}

func ticks(ms int64) uint32 { return uint32((ms + tickMs - 1) / tickMs) }

// repeat books a record that brought nothing new. Before the first emission an
// earlier record that comes late still says from where the deltas count.
func (c *Correlator) repeat(i uint32, side int, r *flow.Record) {
	e := c.slab.at(i)
	if e.told == 0 {
		before := e.pendingBytes()
		e.widen(&e.ends[side], r)
		after := e.pendingBytes()
		c.stats.InBytes += after - before
		c.held.bytes += after - before
	}
	e.records++
	c.held.records++
	if e.silent() {
		c.hush(e)
	}
	c.stats.Repeated++
	if r.Has.Has(flow.FBytesDelta) {
		c.stats.RepeatedBytes += r.BytesDelta
	}
	if r.Has.Has(flow.FRevBytesDelta) {
		c.stats.RepeatedBytes += r.RevBytesDelta
	}
}

// relation of a record to a known connection on the same tuple.
type relation uint8

const (
	relOther  relation = iota // another connection
	relSame                   // the next record of this end
	relRepeat                 // an earlier or resent record of this end
	relCross                  // may be the other end
)

// find looks for the connection of r among those on its tuple, newest first.
// The index gives 0 where r begins a new one.
func (c *Correlator) find(key *flow.Tuple, h uint32, side int, r *flow.Record) (uint32, relation) {
	head := c.index.get(&c.slab, key, h)
	var best uint32
	bestDiff := int64(-1)
	for i := head; i != 0; {
		e := c.slab.at(i)
		if e.ends[side].flags&endSeen != 0 {
			if rel := sameEnd(&e.ends[side], r); rel != relOther {
				return i, rel
			}
		} else if d, ok := c.crossEnd(&e.ends[1-side], r); ok && (bestDiff < 0 || d < bestDiff) {
			best, bestDiff = i, d
		}
		i = e.older
	}
	if best != 0 {
		return best, relCross
	}
	return 0, relOther
}

// crossEnd tells whether r may be the other end of a connection that one end has
// told, and how far the two start times are apart.
func (c *Correlator) crossEnd(o *end, r *flow.Record) (int64, bool) {
	if o.start == 0 || r.Start == 0 {
		return c.cfg.ClockToleranceMs, true
	}
	d := o.start - r.Start
	if d < 0 {
		d = -d
	}
	return d, d <= c.cfg.ClockToleranceMs
}

// sameEnd compares r with what the same end said before. A different start is a
// different connection, whatever the counters say; the same start with totals
// that went down and a later end is one too, for exporters that keep no start.
func sameEnd(o *end, r *flow.Record) relation {
	if o.start != 0 && r.Start != 0 && r.Start != o.start {
		early, late := min(o.start, r.Start), max(o.start, r.Start)
		// Others may be 1 ms off; seconds are milliseconds cut off.
		if d := late - early; d > 2 && (d >= 1000 || early%1000 != 0) {
			return relOther
		}
	}
	v, has := countersOf(r)
	down, up, equal := false, false, true
	for k := range v {
		if has&(1<<k) == 0 || o.has&(1<<k) == 0 {
			continue
		}
		switch {
		case v[k] < o.total[k]:
			down, equal = true, false
		case v[k] > o.total[k]:
			up, equal = true, false
		}
	}
	hasSeq := r.Has.Has(flow.FSeq) && o.flags&endHasSeq != 0
	// A lower number with a later end is an exporter that began anew, not a late record.
	late := r.End < o.last || (hasSeq && r.Seq < o.seq && r.End == o.last)
	switch {
	case down && (late || (r.End == o.last && !up)):
		return relRepeat
	case down:
		return relOther
	case hasSeq && r.Seq == o.seq && equal:
		return relRepeat
	case has&0xf == 0 || o.has&0xf == 0: // no totals: only sequence numbers can tell
		if hasSeq && r.Seq <= o.seq && r.End <= o.last {
			return relRepeat
		}
	case equal && r.End <= o.last && (!hasSeq || r.Seq <= o.seq) && r.EndReason == o.reason() &&
		(!r.Final || o.flags&endFinal != 0):
		return relRepeat
	case late && !up && !r.Final:
		return relRepeat
	}
	if o.flags&endFinal != 0 && r.First && (o.start == 0 || r.Start == 0) && r.End > o.last {
		return relOther // that end was over: its entry is gone
	}
	return relSame
}
