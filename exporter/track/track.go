package track

import (
	"github.com/weirnet/weir/api/flow"
)

// Config of a Tracker. Zero values give the defaults.
type Config struct {
	ActiveMs int64    // a connection with news is exported this often; 5000
	FirstMs  int64    // within this a new connection is exported, and one with a new outcome; 1000, at most ActiveMs
	IdleMs   int64    // news older than this are exported as idle; 15000
	EndMs    int64    // a TCP end is exported after this, so that its last ACKs are in; 1000
	GraceMs  int64    // what a dump no longer has waits so long for its DESTROY event; 1000, with Events
	GhostMs  int64    // and is remembered so long after its final export; 10000, with Events
	MaxConns int      // entries kept; 1,000,000
	Events   bool     // DESTROY events arrive: an entry that vanished may still be told of
	Seed     uint64   // secret of the hash
	Timeouts Timeouts // DefaultTimeouts
	Loopback bool     // track connections between loopback addresses
	// Keep remembers what was told; nil for nobody. Before is what a process before this
	// told, by connections' numbers; it is read until the second complete dump.
	Keep   Keeper
	Before map[uint64]Told
	// Skip leaves a connection out; nil takes all.
	Skip func(*Conn) bool
}

// Stats counts what the tracker did since it was made. In = Out + Held, in
// connections and bytes, at any time.
type Stats struct {
	Observed, Filtered           uint64
	InConnections, InBytes       uint64 // first sights; bytes of both directions
	OutConnections, OutBytes     uint64 // first exports; deltas
	OutRecords, Finals           uint64
	HeldConnections, HeldBytes   uint64 // not exported yet
	Tracked                      int    // entries in the table
	Destroyed, Duplicates        uint64 // DESTROY events; those that came twice
	Reused, CountersBack         uint64 // another connection with the same tuple; totals that were set back
	Swept, Revived               uint64 // entries that vanished without event; those that were back later
	Evicted, EvictedUnremembered uint64 // for lack of room; and whose totals were forgotten as well
}

// Tracker holds the connections of one observer. One goroutine owns it.
type Tracker struct {
	cfg  Config
	emit func(*Export)
	store
	wheel  wheel
	stats  Stats
	gen    uint32
	begun  int64 // when the present full dump began
	hand   int32 // where the search for a victim goes on
	bases  map[int32]Counters
	recent []uint64
	zones  []uint16 // that entries had; one too many says that there are more
	gone   []evicted
	dead   entry // an entry that was never in the table
	buf    Conn
	out    Export
	kept   Told
	sweeps int // complete dumps
}

type evicted struct {
	id    uint64
	told  Counters
	seq   uint32
	final bool
}

const (
	recentSize  = 1 << 16
	evictedSize = 1 << 16
	probes      = 64
)

// New makes a tracker that gives its exports to emit. An Export and its Conn are
// valid until emit returns. nowMs is the time of the first call that follows.
func New(cfg Config, nowMs int64, emit func(*Export)) *Tracker {
	def := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&cfg.ActiveMs, 5000)
	def(&cfg.FirstMs, min(1000, cfg.ActiveMs))
	def(&cfg.IdleMs, 15000)
	def(&cfg.EndMs, 1000)
	def(&cfg.GraceMs, 1000)
	def(&cfg.GhostMs, 10000)
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 1_000_000
	}
	if cfg.Timeouts == (Timeouts{}) {
		cfg.Timeouts = DefaultTimeouts()
	}
	t := &Tracker{cfg: cfg, emit: emit, store: newStore(), bases: map[int32]Counters{}, recent: make([]uint64, recentSize), zones: []uint16{0}}
	t.wheel.init(nowMs)
	return t
}

// Stats gives the counts.
func (t *Tracker) Stats() Stats {
	s := t.stats
	s.Tracked = t.used
	return s
}

func bytesOf(c *Counters) uint64 { return c.OrigBytes + c.ReplyBytes }

func (c *Counters) minus(o *Counters) Counters {
	return Counters{c.OrigPackets - o.OrigPackets, c.OrigBytes - o.OrigBytes, c.ReplyPackets - o.ReplyPackets, c.ReplyBytes - o.ReplyBytes}
}

func (c *Counters) plus(o *Counters) Counters {
	return Counters{c.OrigPackets + o.OrigPackets, c.OrigBytes + o.OrigBytes, c.ReplyPackets + o.ReplyPackets, c.ReplyBytes + o.ReplyBytes}
}

func (t *Tracker) skips(c *Conn) bool {
	if !t.cfg.Loopback && loopback(&c.Orig.Src) && loopback(&c.Reply.Src) {
		return true
	}
	return t.cfg.Skip != nil && t.cfg.Skip(c)
}

func loopback(a *[16]byte) bool {
	if a[0] != 0 {
		return false
	}
	return *a == [16]byte{15: 1} || (a[10] == 0xff && a[11] == 0xff && a[12] == 127)
}

// Observe takes an entry as it is at nowMs.
func (t *Tracker) Observe(nowMs int64, c *Conn) {
	t.stats.Observed++
	if t.skips(c) {
		t.stats.Filtered++
		return
	}
	hash := hashKey(t.cfg.Seed, &c.Orig, c.Zone)
	i, twin := t.find(hash, c)
	switch {
	case c.Destroyed:
		t.destroyed(nowMs, hash, i, c)
	case i != none:
		t.update(nowMs, i, t.at(i), c)
	default:
		t.insert(nowMs, hash, c)
		if twin != none {
			t.replaced(nowMs, twin)
		}
	}
}

// replaced: the kernel has one entry for a tuple and zone, so the one that we
// had is dead; its DESTROY event may still come.
func (t *Tracker) replaced(nowMs int64, i int32) {
	if e := t.at(i); e.flags&flagGone == 0 {
		t.stats.Reused++
		t.lost(nowMs, i, e)
	}
}

func (t *Tracker) insert(nowMs int64, hash uint64, c *Conn) {
	if t.used >= t.cfg.MaxConns {
		t.evict(nowMs)
	}
	t.zone(c.Zone)
	i, e := t.add(hash)
	e.conn, e.firstMs, e.seenMs, e.movedMs, e.gen = *c, nowMs, nowMs, nowMs, t.gen
	e.state = c.TCPState
	if e.lastMs = t.cfg.Timeouts.lastPacket(nowMs, c.Start/1e6, c); e.lastMs == 0 {
		e.lastMs = nowMs
	}
	t.born(i, e)
	e.expires(nowMs)
	e.flags |= flagNews
	if e.seq > 0 && e.told == c.Counters {
		e.flags &^= flagNews
	}
	if c.tcpOver() {
		e.flags |= flagEnd
	}
	t.schedule(nowMs, i, e)
}

// born books a connection that was not in the table, unless it had been evicted, or told by
// a process before this.
func (t *Tracker) born(i int32, e *entry) {
	if t.gone != nil {
		id := connID(&e.conn, e.firstMs)
		if g := &t.gone[id%evictedSize]; g.id == id && !wentBack(&Conn{HasCounters: e.conn.HasCounters, Counters: g.told}, &e.conn) {
			e.told, e.seq = g.told, g.seq
			if g.final {
				e.flags |= flagFinal
			}
			*g = evicted{}
		}
	}
	t.resume(i, e)
	if e.seq == 0 {
		t.stats.InConnections++
		t.stats.HeldConnections++
	}
	t.grew(bytesOf(&e.conn.Counters) - bytesOf(&e.told))
}

func (t *Tracker) grew(n uint64) {
	t.stats.InBytes += n
	t.stats.HeldBytes += n
}

func (e *entry) expires(nowMs int64) {
	e.expMs = 0
	if e.conn.HasTimeout {
		e.expMs = nowMs + int64(e.conn.Timeout)*1000
	}
}

// adjusted gives c with totals that never go back: what was counted before
// somebody set the kernel's counters to zero is added.
func (t *Tracker) adjusted(i int32, e *entry, c *Conn) *Conn {
	if !c.HasCounters {
		return c
	}
	base, ok := t.bases[i]
	if ok {
		t.buf = *c
		t.buf.Counters = c.Counters.plus(&base)
		if !wentBack(&e.conn, &t.buf) {
			return &t.buf
		}
	} else if !wentBack(&e.conn, c) {
		return c
	}
	t.stats.CountersBack++
	t.bases[i] = e.conn.Counters
	t.buf = *c
	t.buf.Counters = c.Counters.plus(&e.conn.Counters)
	return &t.buf
}

const newsBits = StatusSeenReply | StatusAssured // their change is news

func (t *Tracker) update(nowMs int64, i int32, e *entry, c *Conn) {
	e.gen = t.gen
	if wentBack(&e.conn, c) || len(t.bases) > 0 {
		c = t.adjusted(i, e, c)
	}
	k := &e.conn
	moved := c.HasCounters && c.Counters != k.Counters
	news := moved || c.TCPState != k.TCPState || (c.Status^k.Status)&newsBits != 0 || c.Mark != k.Mark || c.Labels != k.Labels
	low := e.lastMs
	if moved {
		low = e.seenMs
		t.grew(bytesOf(&c.Counters) - bytesOf(&k.Counters))
	}
	last := t.cfg.Timeouts.lastPacket(nowMs, low, c)
	switch {
	case moved && last == 0:
		e.lastMs = nowMs
	case moved:
		e.lastMs = last
	case last > e.lastMs && k.HasCounters:
		e.lastMs = min(last, e.movedMs)
	case last > e.lastMs:
		news = news || last > e.lastMs+1000 // what remains is in whole seconds
		e.lastMs = last
	}
	if c.TCPState != k.TCPState {
		e.state = k.TCPState
	}
	k.Status, k.Mark, k.Labels, k.Timeout, k.TCPState = c.Status, c.Mark, c.Labels, c.Timeout, c.TCPState
	k.HasCounters, k.HasTimeout, k.HasTCP, k.Counters = c.HasCounters, c.HasTimeout, c.HasTCP, c.Counters
	if k.Start == 0 && e.seq == 0 {
		k.Start = c.Start
	}
	e.seenMs = nowMs
	e.expires(nowMs)
	if !news && e.flags&flagGone == 0 {
		return
	}
	t.changed(nowMs, i, e, news)
}

// changed schedules what an update brought.
func (t *Tracker) changed(nowMs int64, i int32, e *entry, news bool) {
	if e.flags&flagGone != 0 {
		t.stats.Revived++
		e.flags &^= flagGone | flagDrop | flagFinal
		e.dead = alive
		t.cut(e)
	}
	if news {
		e.flags |= flagNews
		e.movedMs = nowMs
	}
	if e.conn.tcpOver() {
		e.flags |= flagEnd
	} else {
		e.flags &^= flagEnd | flagFinal
	}
	t.schedule(nowMs, i, e)
}

// export tells what is new about e.
func (t *Tracker) export(nowMs int64, i int32, e *entry, reason flow.EndReason) {
	x := &t.out
	*x = Export{
		Conn: &e.conn, ConnID: connID(&e.conn, e.firstMs), Seq: e.seq, StartMs: e.conn.Start / 1e6, EndMs: min(e.lastMs, nowMs),
		Delta: e.conn.Counters.minus(&e.told), Reason: reason, First: e.seq == 0, Final: e.flags&flagFinal != 0,
	}
	x.Outcome, x.Evidence = outcome(&e.conn, e.state, e.dead)
	e.outcome = x.Outcome
	t.stats.OutRecords++
	if e.seq == 0 {
		t.stats.OutConnections++
		t.stats.HeldConnections--
	}
	if x.Final {
		t.stats.Finals++
	}
	n := bytesOf(&x.Delta)
	t.stats.OutBytes += n
	t.stats.HeldBytes -= n
	e.told = e.conn.Counters
	e.seq++
	e.flags &^= flagNews
	t.emit(x)
	t.keep(i, e, x.ConnID)
}

// Flush exports everything that is pending, as active: the connections go on
// without us.
func (t *Tracker) Flush(nowMs int64) {
	for i := range t.top {
		e := t.at(i)
		if e.flags&flagUsed == 0 {
			continue
		}
		switch {
		case e.flags&flagGone != 0 || e.flags&flagEnd != 0:
			if e.flags&flagDrop == 0 {
				t.final(nowMs, i, e)
			}
		case e.flags&flagNews != 0:
			t.export(nowMs, i, e, flow.EndReasonActive)
		}
	}
}
