package track

const (
	tickMs     = 100
	wheelSlots = 1024 // 102 s; what is later waits at the far end and is looked at again
)

// wheel holds numbers of entries by the time at which to look at them, in lists
// that run through the entries themselves.
type wheel struct {
	heads [wheelSlots]int32
	tick  int64 // the next tick to be handled
	count int
}

func (w *wheel) init(nowMs int64) {
	for i := range w.heads {
		w.heads[i] = none
	}
	w.tick = nowMs / tickMs
}

// put schedules an entry that is in no slot. It fires at or after atMs.
func (t *Tracker) put(i int32, e *entry, atMs int64) {
	tick := (atMs + tickMs - 1) / tickMs
	tick = min(max(tick, t.wheel.tick), t.wheel.tick+wheelSlots-1)
	s := int32(tick % wheelSlots)
	head := t.wheel.heads[s]
	e.next, e.prev, e.slot = head, none, s
	if head != none {
		t.at(head).prev = i
	}
	t.wheel.heads[s] = i
	t.wheel.count++
}

// cut takes an entry out of its slot, if it is in one.
func (t *Tracker) cut(e *entry) {
	if e.slot == none {
		return
	}
	if e.prev != none {
		t.at(e.prev).next = e.next
	} else {
		t.wheel.heads[e.slot] = e.next
	}
	if e.next != none {
		t.at(e.next).prev = e.prev
	}
	e.next, e.prev, e.slot = none, none, none
	t.wheel.count--
}

// sooner makes sure that an entry fires by atMs.
func (t *Tracker) sooner(i int32, e *entry, atMs int64) {
	if e.slot != none {
		ahead := (int64(e.slot) - t.wheel.tick%wheelSlots + wheelSlots) % wheelSlots
		if (t.wheel.tick+ahead)*tickMs <= atMs {
			return
		}
		t.cut(e)
	}
	t.put(i, e, atMs)
}

// Expire makes the exports that are due at nowMs.
func (t *Tracker) Expire(nowMs int64) {
	now := nowMs / tickMs
	if t.wheel.count == 0 || now-t.wheel.tick >= wheelSlots {
		// Nothing waits, or the clock jumped: each slot is visited once at most.
		t.wheel.tick = max(t.wheel.tick, now-wheelSlots+1)
	}
	for t.wheel.tick <= now {
		s := t.wheel.tick % wheelSlots
		for t.wheel.heads[s] != none {
			i := t.wheel.heads[s]
			e := t.at(i)
			t.cut(e)
			t.fire(nowMs, i, e)
		}
		t.wheel.tick++
	}
}
