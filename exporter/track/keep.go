package track

// Told is what was told of a connection.
type Told struct {
	Counters
	Seq   uint32 // records
	Final bool
}

// Keeper remembers what was told beyond this process. Its methods must not wait.
type Keeper interface {
	// Put takes what was told of the connection in slot i of the table, of which there
	// are as many as there were connections at once.
	Put(i int32, id uint64, t *Told)
	// Walked says that a complete reading of the table was told.
	Walked()
}

// keep remembers an export of the connection in slot i.
func (t *Tracker) keep(i int32, e *entry, id uint64) {
	if t.cfg.Keep != nil && i != none {
		t.kept = Told{e.told, e.seq, e.flags&flagFinal != 0}
		t.cfg.Keep.Put(i, id, &t.kept)
	}
}

// resume takes up a connection of which a process before this told something.
func (t *Tracker) resume(i int32, e *entry) {
	if len(t.cfg.Before) == 0 {
		return
	}
	id := connID(&e.conn, e.firstMs)
	b, ok := t.cfg.Before[id]
	if !ok || wentBack(&Conn{HasCounters: e.conn.HasCounters, Counters: b.Counters}, &e.conn) {
		return
	}
	e.told, e.seq = b.Counters, b.Seq
	if b.Final {
		e.flags |= flagFinal
	}
	t.keep(i, e, id)
}
