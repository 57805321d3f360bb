package correlate

import (
	"encoding/binary"
	"net/netip"

	"github.com/weirnet/weir/api/flow"
)

// due is the tick at which e needs attention next.
func (c *Correlator) due(e *entry) uint32 {
	due := c.removal(e)
	earlier := func(t uint32) {
		if int32(t-due) < 0 {
			due = t
		}
	}
	switch {
	case e.silent():
	case e.told == 0:
		earlier(e.emitted + ticks(c.cfg.HalfMs))
	case e.finalAt != 0 && e.flags&entFinalTold == 0:
		earlier(e.finalAt + ticks(c.cfg.FinalGraceMs))
	}
	// Also without news: they may come before the deadline does. Once it has
	// passed, the first news set it again.
	if t := e.emitted + ticks(c.cfg.ActiveMs); e.told != 0 && (e.flags&entDirty != 0 || int32(t-c.nowTick) > 0) {
		earlier(t)
	}
	if e.flags&entUnproven != 0 {
		half := ticks(c.cfg.HalfMs)
		if t := e.updated + half; int32(t-c.nowTick) > 0 {
			earlier(t)
		} else {
			earlier(c.nowTick + half)
		}
	}
	if int32(due-c.nowTick) <= 0 {
		due = c.nowTick + 1
	}
	return due
}

// removal is the tick at which e is forgotten.
func (c *Correlator) removal(e *entry) uint32 {
	if e.silent() {
		return e.updated + 2*ticks(c.cfg.HalfMs) // by then the other end has come, if it does
	}
	if e.flags&entFinalTold != 0 && e.over() {
		return e.updated + ticks(c.cfg.LingerMs)
	}
	return e.updated + ticks(c.cfg.InactiveMs)
}

// Expire emits and forgets what is due at nowMs.
func (c *Correlator) Expire(nowMs int64, emit func(*flow.Record)) {
	c.clock(nowMs)
	if !c.started {
		return
	}
	if int32(c.nowTick-c.wheel.at) >= wheelSlots {
		// Time jumped by more than a turn: one turn looks at everything.
		c.wheel.at = c.nowTick - wheelSlots + 1
	}
	for int32(c.nowTick-c.wheel.at) >= 0 {
		slot := c.wheel.at % wheelSlots
		i := c.wheel.head[slot]
		c.wheel.head[slot] = 0
		c.wheel.at++
		for i != 0 {
			e := c.slab.at(i)
			next := e.next
			e.next, e.prev = 0, 0
			c.fire(i, e, emit)
			i = next
		}
	}
}

// fire does what is due for an entry that is out of the wheel.
func (c *Correlator) fire(i uint32, e *entry, emit func(*flow.Record)) {
	reached := func(t uint32) bool { return int32(c.nowTick-t) >= 0 }
	switch {
	case e.silent():
	case e.told == 0:
		if reached(e.emitted + ticks(c.cfg.HalfMs)) {
			c.tell(i, e, emit)
		}
	case e.finalAt != 0 && e.flags&entFinalTold == 0 && reached(e.finalAt+ticks(c.cfg.FinalGraceMs)),
		e.flags&entDirty != 0 && reached(e.emitted+ticks(c.cfg.ActiveMs)),
		c.proven(e):
		c.tell(i, e, emit)
	}
	if reached(c.removal(e)) {
		c.rest(i, e, emit)
		c.forget(i, e)
		c.stats.Forgotten++
		return
	}
	c.wheel.add(&c.slab, i, c.due(e))
}

// Drain emits everything that was taken in and not told, and forgets all.
func (c *Correlator) Drain(nowMs int64, emit func(*flow.Record)) {
	c.clock(nowMs)
	for i := uint32(1); i < c.slab.size; i++ {
		e := c.slab.at(i)
		if e.flags&entLive == 0 {
			continue
		}
		c.rest(i, e, emit)
		c.wheel.remove(&c.slab, i)
		c.forget(i, e)
	}
}

// evict tells and forgets the least recently updated of a few entries.
func (c *Correlator) evict(emit func(*flow.Record)) {
	var victim uint32
	for seen := 0; seen < 8; {
		c.hand++
		if c.hand >= c.slab.size {
			c.hand = 1
			seen++ // an almost empty slab is walked at most eight times
		}
		e := c.slab.at(c.hand)
		if e.flags&entLive == 0 {
			continue
		}
		seen++
		if victim == 0 || int32(e.updated-c.slab.at(victim).updated) < 0 {
			victim = c.hand
		}
	}
	e := c.slab.at(victim)
	c.rest(victim, e, emit)
	c.wheel.remove(&c.slab, victim)
	c.forget(victim, e)
	c.stats.Evicted++
}

// forget frees an entry that is out of the wheel and has nothing left to tell.
func (c *Correlator) forget(i uint32, e *entry) {
	h := hashTuple(&e.key)
	head := c.index.get(&c.slab, &e.key, h)
	switch {
	case head == i && e.older == 0:
		c.index.del(h, i)
	case head == i:
		c.index.put(h, e.older, i)
		c.slab.chained--
	default:
		p := c.slab.at(head)
		for p.older != i {
			p = c.slab.at(p.older)
		}
		p.older = e.older
		c.slab.chained--
	}
	c.ids.release(e.ends[0].ident)
	c.ids.release(e.ends[1].ident)
	if e.flags&entAlias != 0 {
		delete(c.alias, i)
	}
	c.slab.release(i)
}

// rest tells what is left of an entry that goes.
func (c *Correlator) rest(i uint32, e *entry, emit func(*flow.Record)) {
	switch {
	case e.silent():
		c.settle(e)
	case e.records > 0 || e.told == 0:
		c.tell(i, e, emit)
	}
}

// hush takes records off the books that brought nothing to tell.
func (c *Correlator) hush(e *entry) {
	n := uint64(e.records)
	c.held.records -= n
	c.stats.OutRecords += n
	c.stats.Silent += n
	e.records = 0
}

// settle takes what was held of an entry off the books: it is told.
func (c *Correlator) settle(e *entry) {
	bytes := e.pendingBytes()
	c.held.bytes -= bytes
	c.held.records -= uint64(e.records)
	c.stats.OutBytes += bytes
	c.stats.OutRecords += uint64(e.records)
	if e.told == 0 {
		c.held.conns--
		c.stats.OutConnections++
	}
}

// tell emits what is new about a connection and takes it off the held amounts.
func (c *Correlator) tell(i uint32, e *entry, emit func(*flow.Record)) {
	r := &c.out
	src, dst := &e.ends[sideSrc], &e.ends[sideDst]
	*r = flow.Record{}
	if e.both() {
		c.ids.merge(r, src.ident, dst.ident)
	} else {
		c.ids.list[e.one().ident].unpack(r, static)
	}
	c.tuple(i, e, r)
	c.life(e, r)
	counters(e, r)
	if e.both() && src.settled() && dst.settled() {
		loss(src, dst, r)
	}
	sockets(e, r)
	place(r)
	networks(r)
	c.identify(e, r)

	c.stats.Emitted++
	c.settle(e)
	for k := range e.base {
		e.base[k] = e.common(k)
		src.base[k], dst.base[k] = src.total[k], dst.total[k]
	}
	src.gapMs, dst.gapMs = 0, 0
	e.records = 0
	e.told++
	e.emitted = c.nowTick
	e.upTo = max(e.upTo, r.End)
	e.flags &^= entDirty | entHalfTold
	if r.Half {
		e.flags |= entHalfTold
		if e.told == 1 {
			c.stats.HalfTold++
		}
	}
	if r.Final {
		e.flags |= entFinalTold
	}
	emit(r)
}

func (c *Correlator) tuple(i uint32, e *entry, r *flow.Record) {
	r.SetSrcIP(e.key.SrcAddr())
	r.SetDstIP(e.key.DstAddr())
	r.SetProto(e.key.Proto)
	if e.flags&entSrcPort != 0 {
		r.SetSrcPort(e.key.SrcPort)
	}
	if e.flags&entDstPort != 0 {
		r.SetDstPort(e.key.DstPort)
	}
	if e.flags&entAlias != 0 {
		a := c.alias[i]
		r.SetProxySNATIP(r.SrcIP)
		r.SetProxySNATPort(e.key.SrcPort)
		r.SetSrcIP(netip.AddrFrom16(a.ip).Unmap())
		r.SetSrcPort(a.port)
	}
}

// life writes times, states and the joined outcome.
func (c *Correlator) life(e *entry, r *flow.Record) {
	src, dst := &e.ends[sideSrc], &e.ends[sideDst]
	latest := e.one()
	if e.both() && dst.last > src.last {
		latest = dst
	}
	switch {
	case src.start != 0:
		r.SetStart(src.start)
	case dst.start != 0:
		r.SetStart(dst.start)
	}
	r.SetEnd(latest.last)
	switch {
	case e.told > 0:
		r.SetSince(min(e.upTo, r.End)) // the ends' clocks differ
	case r.Has.Has(flow.FStart):
		r.SetSince(min(r.Start, r.End))
	}
	reason := latest.reason()
	if e.flags&entEnded != 0 {
		reason = flow.EndReasonEnd
	}
	if reason != flow.EndReasonNone {
		r.SetEndReason(reason)
	}
	if id := latest.tcp(); id != 0 {
		r.SetTCPState(c.tcp.list[id])
	}
	c.outcome(e, r)
	switch {
	case e.both():
		r.SetSeenBy(flow.SeenByBoth)
	case src.flags&endSeen != 0:
		r.SetSeenBy(flow.SeenBySource)
	default:
		r.SetSeenBy(flow.SeenByDestination)
	}
	if src.flags&endSeen != 0 {
		r.SetEndSrc(src.last)
	}
	if dst.flags&endSeen != 0 {
		r.SetEndDst(dst.last)
	}
	r.SetHalf(e.waits())
	grace := e.finalAt != 0 && int32(c.nowTick-e.finalAt-ticks(c.cfg.FinalGraceMs)) >= 0
	r.SetFinal(e.over() || grace || e.flags&entFinalTold != 0 ||
		(e.waits() && e.one().flags&endFinal != 0))
	r.SetFirst(e.told == 0 && e.ctHas&ctHasBirth != 0 && e.flags&entOld == 0)
}

// identify writes the numbers by which the record can be told from all others.
func (c *Correlator) identify(e *entry, r *flow.Record) {
	r.SetConnID(e.connID)
	r.SetSeq(e.told)
	r.SetRecords(e.records)
	r.SetID(c.id(e.connID, uint64(e.serial)<<32|uint64(e.told)))
}

func (c *Correlator) id(conn, n uint64) (id flow.UUID) {
	a := mix(conn^c.cfg.Instance, n)
	b := mix(a^n, conn)
	binary.BigEndian.PutUint64(id[:8], a)
	binary.BigEndian.PutUint64(id[8:], b)
	return id
}

// pass hands on a record that is no half of anything.
func (c *Correlator) pass(r *flow.Record, emit func(*flow.Record)) {
	w := Weight(r)
	c.stats.Passed++
	c.stats.Emitted++
	c.stats.OutRecords += w
	if r.First {
		c.stats.InConnections++
		c.stats.OutConnections++
	}
	c.stats.InBytes += r.BytesDelta + r.RevBytesDelta
	c.stats.OutBytes += r.BytesDelta + r.RevBytesDelta
	if !r.Has.Has(flow.FConnID) {
		key := KeyOf(r)
		r.SetConnID(mix(hash64(&key), uint64(r.Start)))
	}
	networks(r)
	r.SetRecords(uint32(w))
	if !r.Has.Has(flow.FID) {
		c.serial++
		r.SetID(c.id(r.ConnID, uint64(c.serial)<<32|uint64(uint32(r.End))))
	}
	emit(r)
}
