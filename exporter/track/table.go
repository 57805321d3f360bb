package track

import "github.com/weirnet/weir/api/flow"

const (
	chunkBits = 12
	chunkSize = 1 << chunkBits
	none      = int32(-1)
)

type entryFlags uint8

const (
	flagUsed  entryFlags = 1 << iota
	flagNews             // something to tell since the last export
	flagEnd              // it is over: the next export is the final one
	flagFinal            // the final export was made
	flagGone             // the last full dump did not have it
	flagDrop             // free it when its timer fires
)

// entry is one connection. It holds no pointer, so the collector does not look at it.
type entry struct {
	conn    Conn
	told    Counters // exported so far
	hash    uint64
	firstMs int64 // first sight
	seenMs  int64 // last sight
	lastMs  int64 // last packet
	movedMs int64 // last sight with news
	expMs   int64 // when the entry runs out if no packet comes; 0 unknown
	next    int32 // in its slot of the wheel, or in the free list
	prev    int32
	slot    int32 // of the wheel; none when in no slot
	seq     uint32
	gen     uint32
	state   uint8 // TCP state before the present one
	dead    death
	flags   entryFlags
	outcome flow.Outcome // that was told last
}

// store is a slab of entries in chunks (growing copies nothing) and its index.
type store struct {
	chunks []*[chunkSize]entry
	free   int32
	top    int32 // entries ever handed out
	used   int

	slots []slot
	mask  uint32
}

// slot of the index: low half of the hash, and the entry's number plus one.
type slot struct{ hash, ref uint32 }

func newStore() store {
	return store{free: none, slots: make([]slot, 1024), mask: 1023}
}

func (s *store) at(i int32) *entry { return &s.chunks[i>>chunkBits][i&(chunkSize-1)] }

// same says whether c is the connection of e, whose tuple and zone are equal: the
// conntrack id and the start must not contradict each other.
func (e *entry) same(c *Conn) bool {
	if e.conn.ID != c.ID && e.conn.ID != 0 && c.ID != 0 {
		return false
	}
	if e.conn.Start != c.Start && e.conn.Start != 0 && c.Start != 0 {
		return false
	}
	if e.conn.Start != 0 && c.Start != 0 {
		return true
	}
	return !wentBack(&e.conn, c) && (!e.conn.tcpOver() || !c.HasTCP || c.TCPState >= TCPFinWait)
}

// wentBack says whether a total of c is below the one of old.
func wentBack(old, c *Conn) bool {
	if !old.HasCounters || !c.HasCounters {
		return false
	}
	a, b := &old.Counters, &c.Counters
	return b.OrigPackets < a.OrigPackets || b.OrigBytes < a.OrigBytes || b.ReplyPackets < a.ReplyPackets || b.ReplyBytes < a.ReplyBytes
}

// find gives the entry of c, or none. twin is an entry of the same tuple and zone
// that is another connection.
func (s *store) find(hash uint64, c *Conn) (found, twin int32) {
	twin = none
	for p := uint32(hash) & s.mask; s.slots[p].ref != 0; p = (p + 1) & s.mask {
		if s.slots[p].hash != uint32(hash) {
			continue
		}
		i := int32(s.slots[p].ref - 1)
		e := s.at(i)
		if !sameTuple(&e.conn.Orig, &c.Orig) || e.conn.Zone != c.Zone {
			continue
		}
		if e.same(c) {
			return i, twin
		}
		twin = i
	}
	return none, twin
}

func sameTuple(a, b *flow.Tuple) bool {
	return a.SrcPort == b.SrcPort && a.DstPort == b.DstPort && a.Src == b.Src && a.Dst == b.Dst && a.Proto == b.Proto
}

// add makes an entry with that hash and puts it into the index.
func (s *store) add(hash uint64) (int32, *entry) {
	i := s.free
	if i != none {
		s.free = s.at(i).next
	} else {
		if int(s.top)>>chunkBits == len(s.chunks) {
			s.chunks = append(s.chunks, new([chunkSize]entry))
		}
		i = s.top
		s.top++
	}
	e := s.at(i)
	*e = entry{hash: hash, next: none, prev: none, slot: none, flags: flagUsed}
	s.used++
	if s.used*4 > len(s.slots)*3 {
		s.grow()
	}
	s.link(hash, i)
	return i, e
}

func (s *store) link(hash uint64, i int32) {
	p := uint32(hash) & s.mask
	for s.slots[p].ref != 0 {
		p = (p + 1) & s.mask
	}
	s.slots[p] = slot{uint32(hash), uint32(i) + 1}
}

func (s *store) grow() {
	old := s.slots
	s.slots = make([]slot, 2*len(old))
	s.mask = uint32(len(s.slots) - 1)
	for _, o := range old {
		if o.ref != 0 {
			s.link(uint64(o.hash), int32(o.ref-1))
		}
	}
}

// remove takes the entry out of the index and frees it.
func (s *store) remove(i int32) {
	e := s.at(i)
	p := uint32(e.hash) & s.mask
	for s.slots[p].ref != uint32(i)+1 {
		p = (p + 1) & s.mask
	}
	// Linear probing without tombstones: move back what would be cut off.
	for q := (p + 1) & s.mask; s.slots[q].ref != 0; q = (q + 1) & s.mask {
		home := s.slots[q].hash & s.mask
		if (q-home)&s.mask >= (q-p)&s.mask {
			s.slots[p] = s.slots[q]
			p = q
		}
	}
	s.slots[p] = slot{}
	e.flags = 0
	e.next = s.free
	s.free = i
	s.used--
}
