package correlate

import (
	"github.com/weirnet/weir/api/flow"
)

// What an observation brought.
const (
	newData    = 1 << iota // counters, a later packet or other names
	newEnd                 // the first record of an end
	newJoin                // both ends are there now
	newOutcome             // an end says what came of the connection, or otherwise than before
	newFinal               // an end said its last word
	newDirt                // the first news since the last emission
)

// create makes room and begins a connection.
func (c *Correlator) create(key *flow.Tuple, h uint32, r *flow.Record, emit func(*flow.Record)) uint32 {
	for c.Len() >= c.cfg.MaxConnections || (c.ids.live+1 >= c.cfg.MaxIdentities && c.Len() > 0) {
		c.evict(emit)
	}
	head := c.index.get(&c.slab, key, h)
	i := c.slab.alloc()
	e := c.slab.at(i)
	c.serial++
	e.key, e.serial, e.emitted = *key, c.serial, c.nowTick
	e.connID = mix(hash64(key), uint64(r.Start))
	for j := head; j != 0; j = c.slab.at(j).older {
		if c.slab.at(j).connID == e.connID { // no start by which to tell them apart
			e.connID = mix(e.connID, uint64(c.serial))
		}
	}
	if head != 0 {
		e.older = head
		c.slab.chained++
		c.stats.Reused++
	}
	c.index.put(h, i, head)
	if r.Has.Has(flow.FSrcPort) {
		e.flags |= entSrcPort
	}
	if r.Has.Has(flow.FDstPort) {
		e.flags |= entDstPort
	}
	c.stats.InConnections++
	c.held.conns++
	c.wheel.add(&c.slab, i, c.nowTick+ticks(c.cfg.HalfMs))
	return i
}

// update takes r into its end of the connection.
func (c *Correlator) update(i uint32, e *entry, side int, r *flow.Record) (grown uint8) {
	o := &e.ends[side]
	if o.flags&endSeen == 0 {
		grown |= newEnd | newData
		if e.ends[1-side].flags&endSeen != 0 {
			grown |= newJoin
			c.stats.Joined++
			if e.flags&entHalfTold != 0 {
				c.stats.HalfMended++
			}
		}
		o.flags |= endSeen
		o.start, o.last = r.Start, r.End
		if r.Start != 0 && r.End > r.Start {
			o.gapMs = clamp32(r.End - r.Start)
		}
		c.begin(e, o, r)
		o.ident = c.ids.intern(r)
	} else {
		if c.grow(e, o, r) {
			grown |= newData
		}
		if o.start == 0 {
			o.start = r.Start
		}
		if r.End > o.last {
			o.gapMs = clamp32(int64(o.gapMs) + r.End - o.last)
			o.last = r.End
			grown |= newData
		}
		if !c.ids.same(o.ident, r) {
			old := o.ident
			o.ident = c.ids.intern(r)
			c.ids.release(old)
			grown |= newData
		}
	}
	e.updated = c.nowTick
	if e.told == 0 && e.silent() {
		e.emitted = c.nowTick // from here it waits for the other end
	}
	switch {
	case r.Has.Has(flow.FHandedOver) && r.HandedOver:
		e.flags |= entOld
	case !r.Has.Has(flow.FFirst) || r.First:
		e.flags |= entNews
		e.ctHas |= ctHasBirth
	default:
		e.flags |= entNews
	}
	if r.Has.Has(flow.FSeq) {
		if r.End >= o.last || r.Seq > o.seq {
			o.seq = r.Seq
		}
		o.flags |= endHasSeq
	}
	grown |= c.state(e, o, r)
	c.socket(e, side, r)
	if translated(r) {
		c.alias[i] = alias{flow.Addr16(r.SrcIP), r.SrcPort}
		e.flags |= entAlias
	}
	// One end's word that nobody else saw it is enough.
	switch {
	case !needsOther(r):
		e.flags &^= entNeeds
	case grown&newEnd != 0 && grown&newJoin == 0:
		e.flags |= entNeeds
	}
	if grown != 0 {
		if e.flags&entDirty == 0 && e.told != 0 {
			grown |= newDirt
		}
		e.flags |= entDirty
	}
	return grown
}

// state takes over what an end says about the life of the connection.
func (c *Correlator) state(e *entry, o *end, r *flow.Record) (grown uint8) {
	if r.TCPState != "" && r.TCPState != c.tcp.list[o.tcp()] {
		id, ok := c.tcp.id(r.TCPState)
		if !ok {
			c.stats.UnknownTCP++
		}
		if id != o.tcp() {
			o.setTCP(id)
			grown |= newData
		}
	}
	out, reason := o.outcome(), o.reason()
	if r.Has.Has(flow.FOutcome) && r.Outcome != flow.OutcomeUnknown {
		if out != r.Outcome {
			grown |= newOutcome
			o.evid = 0
		}
		out = r.Outcome
		if evid := o.evid&^evidenceMask | uint8(r.Evidence)&evidenceMask; evid != o.evid {
			o.evid = evid
			grown |= newData
		}
		if r.Has.Has(flow.FResetBy) && r.ResetBy <= flow.ResetByPath {
			o.evid = o.evid&evidenceMask | uint8(r.ResetBy)<<resetShift
		}
	}
	if r.EndReason != flow.EndReasonNone {
		reason = r.EndReason
	}
	o.kind = uint8(out)&0xf | uint8(reason)<<4
	if reason == flow.EndReasonEnd {
		e.flags |= entEnded
	}
	// Antrea says the end of a connection with flowEndReason 3 alone.
	final := r.EndReason == flow.EndReasonEnd
	if r.Has.Has(flow.FFinal) {
		final = r.Final
	}
	if final && o.flags&endFinal == 0 {
		o.flags |= endFinal
		if e.finalAt == 0 {
			e.finalAt = c.nowTick
		}
		grown |= newFinal
	}
	return grown
}

// begin sets the counters of an end at its first record: what its exporter told
// before is in the total and not in the delta.
func (c *Correlator) begin(e *entry, o *end, r *flow.Record) {
	v, has := countersOf(r)
	d := deltasOf(r)
	for k := range v {
		bit, dbit := uint8(1)<<k, uint8(16)<<k
		switch {
		case has&bit != 0 && has&dbit != 0:
			o.has |= bit
			o.total[k], o.base[k] = v[k], v[k]-min(d[k], v[k])
		case has&bit != 0:
			o.has |= bit
			o.total[k] = v[k]
		case has&dbit != 0:
			o.has |= dbit
			o.total[k] = d[k]
		default:
			continue
		}
		// Up to where an end's own deltas begin, another replica has told it, or
		// the books tell of a loss: the farther of the two is told already.
		e.base[k] = max(e.base[k], o.base[k])
		e.flags |= uint16(entKnown0) << k
	}
}

// grow adds a later record of the same end; it tells whether a counter moved.
func (c *Correlator) grow(e *entry, o *end, r *flow.Record) bool {
	v, has := countersOf(r)
	d := deltasOf(r)
	moved := false
	for k := range v {
		bit, dbit := uint8(1)<<k, uint8(16)<<k
		var by uint64
		switch {
		case has&bit != 0 && o.has&bit == 0:
			moved = true
			e.appear(o, k, v[k], has, d[k])
		case has&bit != 0:
			if v[k] > o.total[k] {
				by = v[k] - o.total[k]
			}
			if k&1 == 1 && has&dbit != 0 { // bytes
				if by > d[k] {
					c.stats.RecoveredBytes += by - d[k]
				} else {
					c.stats.RepeatedBytes += d[k] - by
				}
			}
		case has&dbit != 0:
			by = d[k]
			if o.has&bit == 0 {
				o.has |= dbit
				e.flags |= entKnown0 << k
			}
		}
		if by != 0 {
			o.total[k] += by
			moved = true
		}
	}
	return moved
}

// widen lowers the bases to those of an earlier record.
func (e *entry) widen(o *end, r *flow.Record) {
	v, has := countersOf(r)
	d := deltasOf(r)
	for k := range v {
		if has&o.has&(1<<k) != 0 && has&(16<<k) != 0 {
			o.base[k] = min(o.base[k], v[k]-min(d[k], v[k]))
			e.base[k] = max(e.ends[0].base[k], e.ends[1].base[k])
		}
	}
}

// appear begins the total of a counter that this end had not told, or had told
// as deltas only: what is pending stays pending.
func (e *entry) appear(o *end, k int, total uint64, has uint8, delta uint64) {
	pending := o.total[k] - o.base[k]
	if has&(16<<k) != 0 {
		pending += delta
	}
	o.total[k], o.base[k] = total, total-min(pending, total)
	o.has = o.has&^(16<<k) | 1<<k
	if known := uint16(entKnown0) << k; e.flags&known == 0 {
		e.base[k] = o.base[k]
		e.flags |= known
	} else {
		e.base[k] = max(e.base[k], o.base[k])
	}
}

// socket keeps what is known of the path: the client's node speaks for the
// connection, each end for its own retransmits.
func (c *Correlator) socket(e *entry, side int, r *flow.Record) {
	m := &r.Has
	// Until the client's node has told, the server's speaks: its latest word counts.
	if side == sideSrc || e.ctHas&ctHasRTTSrc == 0 {
		e.keep(m, flow.FRTT, sockRTT, r.RTT)
		if side == sideSrc && m.Has(flow.FRTT) {
			e.ctHas |= ctHasRTTSrc
		}
	}
	if m.Has(flow.FRTTMin) && (e.has&(1<<sockRTTMin) == 0 || r.RTTMin < e.sock[sockRTTMin]) {
		e.keep(m, flow.FRTTMin, sockRTTMin, r.RTTMin)
	}
	// The other node may have read this end's socket too, where both pods are its own.
	if side == sideSrc || e.ends[sideSrc].flags&endSeen == 0 {
		e.keep(m, flow.FRetransSrc, sockRetransSrc, r.RetransSrc)
		limited(m, flow.FLimitedBySrc, &e.has, limitSrcShift, r.LimitedBySrc)
	}
	if side == sideDst || e.ends[sideDst].flags&endSeen == 0 {
		e.keep(m, flow.FRetransDst, sockRetransDst, r.RetransDst)
		limited(m, flow.FLimitedByDst, &e.ctHas, limitDstShift, r.LimitedByDst)
	}
	if m.Has(flow.FPathMTU) && (e.has&(1<<sockMTU) == 0 || r.PathMTU < e.sock[sockMTU]) {
		e.keep(m, flow.FPathMTU, sockMTU, r.PathMTU)
	}
	if m.Has(flow.FDNSTime) && (side == sideSrc || e.ends[sideSrc].flags&endSeen == 0) {
		e.dnsTime = min(r.DNSTime, 1<<32-2) + 1 // each question has another: no part of an identity
	}
	if side == sideSrc || e.ends[sideSrc].flags&endSeen == 0 {
		if m.Has(flow.FCTZone) {
			e.ctZone, e.ctHas = r.CTZone, e.ctHas|1
		}
		if m.Has(flow.FCTMark) {
			e.ctMark, e.ctHas = r.CTMark, e.ctHas|2
		}
		if m.Has(flow.FCTStatus) {
			e.ctStat, e.ctHas = r.CTStatus, e.ctHas|4
		}
	}
}

func (e *entry) keep(m *flow.Mask, f flow.FieldID, k int, v uint32) {
	if m.Has(f) {
		e.sock[k] = v
		e.has |= 1 << k
	}
}

// limited keeps what holds the sender of one end back.
func limited(m *flow.Mask, f flow.FieldID, p *uint8, shift int, v flow.LimitedBy) {
	if m.Has(f) && v <= limitMask {
		*p = *p&^(limitMask<<shift) | uint8(v)<<shift
	}
}

func clamp32(v int64) uint32 {
	if v > 1<<32-1 {
		return 1<<32 - 1
	}
	return uint32(max(v, 0))
}

// agrees tells whether both ends say the same of what came of the connection.
func (e *entry) agrees() bool {
	return e.both() && e.ends[sideSrc].outcome() == e.ends[sideDst].outcome()
}

// react emits at once what must not wait, and sets the next deadline.
func (c *Correlator) react(i uint32, e *entry, grown uint8, emit func(*flow.Record)) {
	if grown == 0 {
		return
	}
	switch {
	case e.told == 0:
		// A denial stands, whatever the other end says.
		if (!e.waits() || e.one().outcome() == flow.OutcomeDenied) && !e.silent() {
			c.tell(i, e, emit)
		}
	case grown&newJoin != 0, // a half is mended
		e.flags&entFinalTold != 0,              // a late word after the end
		grown&newFinal != 0 && e.over(),        // the end
		grown&newOutcome != 0 && !e.agrees(),   // what came of it; the other end's same word can wait
		e.flags&entHalfTold != 0 && !e.waits(): // told as a half, and no other is expected any more
		c.tell(i, e, emit)
	case grown&(newFinal|newEnd) == 0 && (grown&newDirt == 0 || e.emitted+ticks(c.cfg.ActiveMs) > c.nowTick):
		return // the deadline that is set is soon enough
	}
	c.wheel.remove(&c.slab, i)
	c.wheel.add(&c.slab, i, c.due(e))
}
