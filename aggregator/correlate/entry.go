package correlate

import "github.com/weirnet/weir/api/flow"

// end is what one node said. It holds no pointer.
type end struct {
	start int64     // ms, 0 unknown
	last  int64     // last packet, ms
	total [4]uint64 // packets, bytes, reverse packets, reverse bytes
	base  [4]uint64 // totals at the last emission
	ident uint32    // names and policies
	seq   uint32    // sequence number of its last record
	gapMs uint32    // ms of its own clock since the last emission
	has   uint8     // bits 0-3: totals known; 4-7: only deltas were ever seen, total is their sum
	flags uint8     // three flags, and the number of the TCP state above them
	kind  uint8     // outcome in the low nibble, last end reason in the high one
	evid  uint8     // flow.Evidence in the low six bits, flow.ResetBy above them
}

const (
	endSeen   = 1 << iota
	endFinal  // it said this was its last record
	endHasSeq //

	tcpShift = 3
	maxWords = 1 << (8 - tcpShift)

	resetShift   = 6
	evidenceMask = 1<<resetShift - 1
)

func (o *end) tcp() uint8      { return o.flags >> tcpShift }
func (o *end) setTCP(id uint8) { o.flags = o.flags&(1<<tcpShift-1) | id<<tcpShift }

// settled tells whether its totals will not move by packets that are on their way.
func (o *end) settled() bool {
	return o.flags&endFinal != 0 || o.reason() == flow.EndReasonIdle
}

func (o *end) evidence() flow.Evidence { return flow.Evidence(o.evid & evidenceMask) }
func (o *end) resetBy() flow.ResetBy   { return flow.ResetBy(o.evid >> resetShift) }
func (o *end) outcome() flow.Outcome   { return flow.Outcome(o.kind & 0xf) }
func (o *end) reason() flow.EndReason  { return flow.EndReason(o.kind >> 4) }

// known tells whether counter k was ever counted, as a total or as deltas.
func (o *end) known(k int) bool { return (o.has|o.has>>4)&(1<<k) != 0 }

// entry is one connection. It holds no pointer, so the garbage collector never
// looks into the slabs.
type entry struct {
	key  flow.Tuple
	next uint32 // wheel
	prev uint32
	// older is the previous connection on the same tuple.
	older   uint32
	flags   uint16
	slot    uint16 // of the wheel
	records uint32 // taken in since the last emission
	updated uint32 // ticks
	emitted uint32 // last emission; the beginning where there was none
	finalAt uint32 // tick of the first final end
	ends    [2]end
	base    [4]uint64 // common totals told so far
	connID  uint64
	serial  uint32
	told    uint32 // number of emissions
	upTo    int64  // end of the last emission, ms
	sock    [5]uint32
	ctMark  uint32
	ctStat  uint32
	ctZone  uint16
	has     uint8 // which of sock are present
	ctHas   uint8
	dnsTime uint32 // us, plus 1: 0 is unknown
}

// Flags of an entry.
const (
	entLive      = 1 << iota
	entNeeds     // the other node has something to say
	entDirty     // there is something new to tell
	entFinalTold // the end was told
	entEnded     // an end said flowEndReason 3: sticky
	entSrcPort   // the exporters give ports
	entDstPort
	entAlias    // the client has another name outside: see Correlator.alias
	entHalfTold // told with one end where two were expected
	entKnown0   // common counter k has a base: bits from here up to +3
	_
	_
	_
	entUnproven // told before the silence of the server's node could prove more
	entOld      // another replica has told of it
	entNews     // there is something that no other replica has told
)

// The sock values.
const (
	sockRTT = iota
	sockRTTMin
	sockRetransSrc
	sockRetransDst
	sockMTU
)

// What has and ctHas hold above their bits of presence: what limits each end's
// sender (flow.LimitedBy, three bits), and whether the RTT is the client's word.
const (
	limitSrcShift = 5 // in has
	limitDstShift = 3 // in ctHas
	limitMask     = 7
	ctHasRTTSrc   = 1 << 6
	ctHasBirth    = 1 << 7 // an exporter's first record of it came here
)

func (e *entry) both() bool { return e.ends[0].flags&e.ends[1].flags&endSeen != 0 }

// one gives the only end seen, or the source.
func (e *entry) one() *end {
	if e.ends[sideSrc].flags&endSeen == 0 {
		return &e.ends[sideDst]
	}
	return &e.ends[sideSrc]
}

func (e *entry) waits() bool { return e.flags&entNeeds != 0 && !e.both() }

// silent tells whether all that is known of it another replica has told.
func (e *entry) silent() bool { return e.flags&entNews == 0 }

// over tells whether every end that is expected said its last word.
func (e *entry) over() bool {
	if e.both() {
		return e.ends[0].flags&e.ends[1].flags&endFinal != 0
	}
	return !e.waits() && e.one().flags&endFinal != 0
}

// common is the larger of the two ends' totals.
func (e *entry) common(k int) uint64 {
	return max(e.ends[0].total[k], e.ends[1].total[k])
}

func (e *entry) pendingBytes() uint64 {
	return e.common(1) - e.base[1] + e.common(3) - e.base[3]
}

const (
	slabShift = 10
	slabMask  = 1<<slabShift - 1
)

// slab hands out entries by number; number 0 is never used. Chunks are never
// moved, so an *entry stays valid until it is freed.
type slab struct {
	chunks  []*[1 << slabShift]entry
	free    uint32 // list through entry.next
	size    uint32
	chained int // live entries that are not the head of their tuple
}

func (s *slab) at(i uint32) *entry { return &s.chunks[i>>slabShift][i&slabMask] }

func (s *slab) alloc() uint32 {
	if i := s.free; i != 0 {
		e := s.at(i)
		s.free = e.next
		*e = entry{flags: entLive}
		return i
	}
	if s.size == 0 {
		s.size = 1
	}
	if int(s.size>>slabShift) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([1 << slabShift]entry))
	}
	i := s.size
	s.size++
	s.at(i).flags = entLive
	return i
}

func (s *slab) release(i uint32) {
	e := s.at(i)
	e.flags = 0
	e.next = s.free
	s.free = i
}

// index maps a tuple to its newest entry: open addressing with linear probing
// over (hash, number) pairs, and no pointer.
type index struct {
	slots []uint64
	used  int
}

func (x *index) init(n int) { x.slots = make([]uint64, n) }

func (x *index) get(s *slab, key *flow.Tuple, h uint32) uint32 {
	mask := uint32(len(x.slots) - 1)
	for p := h & mask; ; p = (p + 1) & mask {
		v := x.slots[p]
		if v == 0 {
			return 0
		}
		if uint32(v>>32) == h && s.at(uint32(v)).key == *key {
			return uint32(v)
		}
	}
}

// put sets the entry of a tuple; old is the one it replaces, or 0.
func (x *index) put(h, i, old uint32) {
	mask := uint32(len(x.slots) - 1)
	want := uint64(h)<<32 | uint64(old)
	for p := h & mask; ; p = (p + 1) & mask {
		if x.slots[p] == 0 || (old != 0 && x.slots[p] == want) {
			if x.slots[p] == 0 {
				x.used++
			}
			x.slots[p] = uint64(h)<<32 | uint64(i)
			break
		}
	}
	if x.used*5 > len(x.slots)*4 {
		x.grow()
	}
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]uint64, 2*len(old))
	mask := uint32(len(x.slots) - 1)
	for _, v := range old {
		if v == 0 {
			continue
		}
		p := uint32(v>>32) & mask
		for x.slots[p] != 0 {
			p = (p + 1) & mask
		}
		x.slots[p] = v
	}
}

// del takes an entry out and closes the gap (Knuth 6.4, algorithm R).
func (x *index) del(h, i uint32) {
	mask := uint32(len(x.slots) - 1)
	want := uint64(h)<<32 | uint64(i)
	p := h & mask
	for x.slots[p] != want {
		if x.slots[p] == 0 {
			return
		}
		p = (p + 1) & mask
	}
	x.used--
	for q := (p + 1) & mask; x.slots[q] != 0; q = (q + 1) & mask {
		home := uint32(x.slots[q]>>32) & mask
		if (q-home)&mask >= (q-p)&mask {
			x.slots[p] = x.slots[q]
			p = q
		}
	}
	x.slots[p] = 0
}

const wheelSlots = 4096 // times 32 ms: 131 s, further deadlines go round again

// wheel keeps entries by deadline in doubly linked lists.
type wheel struct {
	head [wheelSlots]uint32
	at   uint32 // next tick to look at
}

func (w *wheel) init() {}

func (w *wheel) add(s *slab, i uint32, due uint32) {
	if int32(due-w.at) < 0 {
		due = w.at
	}
	if due-w.at >= wheelSlots {
		due = w.at + wheelSlots - 1
	}
	e := s.at(i)
	e.slot = uint16(due % wheelSlots)
	e.prev, e.next = 0, w.head[e.slot]
	if e.next != 0 {
		s.at(e.next).prev = i
	}
	w.head[e.slot] = i
}

func (w *wheel) remove(s *slab, i uint32) {
	e := s.at(i)
	if e.prev != 0 {
		s.at(e.prev).next = e.next
	} else {
		w.head[e.slot] = e.next
	}
	if e.next != 0 {
		s.at(e.next).prev = e.prev
	}
	e.next, e.prev = 0, 0
}

// words interns the few words of TCP states as bytes; 0 is absent.
type words struct {
	list []string
	ids  map[string]uint8
}

func (w *words) init() {
	w.list = []string{""}
	w.ids = map[string]uint8{"": 0}
}

func (w *words) id(s string) (uint8, bool) {
	if i, ok := w.ids[s]; ok {
		return i, true
	}
	if len(w.list) == maxWords {
		return 0, false
	}
	i := uint8(len(w.list))
	w.list = append(w.list, s)
	w.ids[s] = i
	return i, true
}
