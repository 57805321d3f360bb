package track

import "github.com/weirnet/weir/api/flow"

// schedule puts an entry that has something to tell into the wheel.
func (t *Tracker) schedule(nowMs int64, i int32, e *entry) {
	switch {
	case e.flags&(flagEnd|flagFinal) == flagEnd:
		t.sooner(i, e, nowMs+t.cfg.EndMs)
	case e.flags&flagNews != 0 && t.fresh(e):
		// News come with a reading of the table, and the next ones not before the next
		// reading: an early export makes no further one.
		t.sooner(i, e, nowMs+int64(e.hash>>32)%t.cfg.FirstMs)
	case e.flags&flagNews != 0 && e.slot == none:
		// Its own phase of the active timeout: exports are spread over it.
		phase := int64(e.hash>>32) % t.cfg.ActiveMs
		t.put(i, e, nowMs+t.cfg.ActiveMs-(nowMs-phase)%t.cfg.ActiveMs)
	}
}

// fresh tells whether an entry's outcome was not told yet. What the first reading of the
// table shows is old: it has the time of all that is live.
func (t *Tracker) fresh(e *entry) bool {
	if e.seq == 0 {
		return t.gen > 1
	}
	o, _ := outcome(&e.conn, e.state, e.dead)
	return o != e.outcome
}

// fire handles an entry whose time has come; it is in no slot of the wheel.
func (t *Tracker) fire(nowMs int64, i int32, e *entry) {
	switch {
	case e.flags&flagDrop != 0:
		t.free1(i)
	case e.flags&flagGone != 0:
		t.final(nowMs, i, e)
		t.bury(nowMs, i, e)
	case e.flags&flagEnd != 0:
		t.final(nowMs, i, e)
	case e.flags&flagNews != 0:
		reason := flow.EndReasonActive
		if nowMs-e.movedMs >= t.cfg.IdleMs {
			reason = flow.EndReasonIdle
		}
		t.export(nowMs, i, e, reason)
	}
}

func (t *Tracker) final(nowMs int64, i int32, e *entry) {
	if e.flags&flagFinal == 0 || e.flags&flagNews != 0 {
		e.flags |= flagFinal
		t.export(nowMs, i, e, flow.EndReasonEnd)
	}
}

// bury frees a dead entry, or keeps its totals while a late event may come.
func (t *Tracker) bury(nowMs int64, i int32, e *entry) {
	if !t.cfg.Events {
		t.free1(i)
		return
	}
	e.flags |= flagDrop
	t.put(i, e, nowMs+t.cfg.GhostMs)
}

func (t *Tracker) free1(i int32) {
	if len(t.bases) > 0 {
		delete(t.bases, i)
	}
	t.remove(i)
}
