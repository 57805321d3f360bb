package track

import "github.com/weirnet/weir/api/flow"

// destroyed takes the last word about an entry: i is its number, or none where
// it was never seen before.
func (t *Tracker) destroyed(nowMs int64, hash uint64, i int32, c *Conn) {
	if t.duplicate(c) {
		t.stats.Duplicates++
		return
	}
	t.stats.Destroyed++
	deathMs := nowMs
	if c.Stop != 0 {
		deathMs = min(nowMs, c.Stop/1e6)
	}
	if i == none {
		e := &t.dead
		*e = entry{conn: *c, hash: hash, firstMs: nowMs, dead: reported, state: c.TCPState, flags: flagNews | flagFinal}
		e.lastMs = t.cfg.Timeouts.lastBeforeDeath(deathMs, c.Start/1e6, c)
		if c.Start == 0 {
			e.lastMs = deathMs
		}
		t.born(i, e)
		if e.seq == 0 || bytesOf(&e.told) != bytesOf(&c.Counters) {
			t.export(nowMs, i, e, flow.EndReasonEnd)
		}
		return
	}
	e := t.at(i)
	if wentBack(&e.conn, c) || len(t.bases) > 0 {
		c = t.adjusted(i, e, c)
	}
	t.bequeath(e, c, deathMs)
	t.cut(e)
	t.final(nowMs, i, e)
	t.free1(i)
}

// bequeath takes over what a DESTROY event says: it has no timeout, and no labels
// or mark unless they were just changed.
func (t *Tracker) bequeath(e *entry, c *Conn, deathMs int64) {
	k := &e.conn
	e.dead = reported
	moved := c.HasCounters && c.Counters != k.Counters
	if e.expMs != 0 && !moved && deathMs >= e.expMs && (k.HasCounters || deathMs < e.expMs+2000) {
		e.dead = expired
	}
	state := k.TCPState
	if c.HasTCP && c.TCPState != state {
		e.state = state
		k.TCPState, k.HasTCP = c.TCPState, true
		e.flags |= flagNews
	}
	if (c.Status^k.Status)&newsBits != 0 {
		e.flags |= flagNews
	}
	k.Status, k.Stop, k.Destroyed = c.Status, c.Stop, true
	if k.Start == 0 && e.seq == 0 {
		k.Start = c.Start
	}
	if c.Mark != 0 {
		k.Mark = c.Mark
	}
	if c.Labels != ([16]byte{}) {
		k.Labels = c.Labels
	}
	if moved {
		e.flags |= flagNews
		t.grew(bytesOf(&c.Counters) - bytesOf(&k.Counters))
		k.Counters, k.HasCounters = c.Counters, true
		e.lastMs = t.cfg.Timeouts.lastBeforeDeath(deathMs, e.seenMs, k)
	} else if !k.HasCounters && e.dead != expired {
		e.lastMs = t.cfg.Timeouts.lastBeforeDeath(deathMs, e.lastMs, k)
	}
}

// duplicate says whether this event was here already: in reliable mode the kernel
// delivers again to every listener when one of them was full. Without a start two
// connections may be equal in everything, so nothing is left out then.
func (t *Tracker) duplicate(c *Conn) bool {
	if c.Start == 0 {
		return false
	}
	k := &c.Counters
	f := connID(c, 0) ^ mix(k.OrigPackets^mulA, k.ReplyPackets^mulB) ^ mix(k.OrigBytes^mulB, k.ReplyBytes^mulC) ^ uint64(c.Stop)
	p := &t.recent[f%recentSize]
	if *p == f {
		return true
	}
	*p = f
	return false
}

// lost: an entry is in the kernel's table no more, and no event told of it.
func (t *Tracker) lost(nowMs int64, i int32, e *entry) {
	t.stats.Swept++
	e.flags |= flagGone
	e.dead = vanished
	if e.expMs != 0 && nowMs >= e.expMs {
		e.dead = expired
	}
	t.cut(e)
	switch {
	case t.cfg.Events:
		t.put(i, e, nowMs+t.cfg.GraceMs)
	default:
		t.put(i, e, nowMs)
	}
}

// BeginDump starts a full dump: what Observe does not get until Sweep is gone.
func (t *Tracker) BeginDump(nowMs int64) {
	t.gen++
	t.begun = nowMs
}

// Sweep ends a full dump that was complete. What it did not have gets its final
// export, after a time in which a DESTROY event may bring better numbers.
func (t *Tracker) Sweep(nowMs int64) {
	for i := range t.top {
		e := t.at(i)
		if e.flags&(flagUsed|flagGone) == flagUsed && e.gen != t.gen {
			t.lost(nowMs, i, e)
		}
	}
	switch t.sweeps++; {
	case t.sweeps == 1 && t.cfg.Keep != nil:
		t.cfg.Keep.Walked()
	case t.sweeps == 2: // what died while nobody looked has told its end by now
		t.cfg.Before = nil
	}
}

// evict makes room: it looks at a few entries, takes one that has been told to
// the end if there is one, else the one that moved longest ago, and exports what
// was pending of it. What it had told is remembered for the case that it is seen again.
func (t *Tracker) evict(nowMs int64) {
	victim := none
	var best *entry
	for range probes {
		t.hand++
		if t.hand >= t.top {
			t.hand = 0
		}
		e := t.at(t.hand)
		if e.flags&flagUsed == 0 {
			continue
		}
		if best == nil || rank(e) < rank(best) {
			victim, best = t.hand, e
		}
	}
	if best == nil { // a run of free entries: rare, and the next call goes on behind it
		return
	}
	t.stats.Evicted++
	t.cut(best)
	if best.flags&flagDrop == 0 {
		over := best.flags&(flagEnd|flagGone|flagFinal) != 0
		if best.flags&flagNews != 0 {
			best.flags |= flagFinal
			t.export(nowMs, victim, best, flow.EndReasonLackResources)
		}
		t.remember(best, over)
	}
	t.free1(victim)
}

func rank(e *entry) int64 {
	switch {
	case e.flags&flagDrop != 0:
		return -2
	case e.flags&(flagFinal|flagNews) == flagFinal:
		return -1
	}
	return e.movedMs
}

func (t *Tracker) remember(e *entry, over bool) {
	if t.gone == nil {
		t.gone = make([]evicted, evictedSize)
	}
	id := connID(&e.conn, e.firstMs)
	g := &t.gone[id%evictedSize]
	if g.id != 0 {
		t.stats.EvictedUnremembered++
	}
	*g = evicted{id: id, told: e.told, seq: e.seq, final: over}
}
