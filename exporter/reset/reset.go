package reset

import (
	"encoding/binary"
	"slices"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/exporter/packet"
)

// Reset is one RST.
type Reset struct {
	TimeMs int64      // when the kernel had it, Unix ms
	Tuple  flow.Tuple // Src is the sender by its address
	From   From
	// Refusal: it answers a SYN (RFC 9293 section 3.10.7.1: sequence number 0, with ACK).
	Refusal bool
}

// From says who made a RST.
type From uint8

// The makers.
const (
	End  From = iota + 1 // the end whose address it has, or somebody before this node
	Node                 // this node, in the name of another's address
)

// FromWords are the words of From.
var FromWords = [...]string{"unknown", "end", "node"}

func (f From) String() string { return FromWords[f] }

// Parse reads a RST from an IP packet, and what it has in common wherever it passes:
// its sequence and acknowledgement numbers. ok is false for a packet that is whole and
// no RST; err is packet.ErrMalformed. It allocates nothing.
func Parse(b []byte, r *Reset) (id uint64, ok bool, err error) {
	h, err := packet.Parse(b)
	if err != nil {
		return 0, false, err
	}
	if h.Tuple.Proto != packet.TCP || h.Fragment {
		return 0, false, nil
	}
	s, whole := h.Segment()
	if !whole {
		return 0, false, packet.ErrMalformed
	}
	if !s.RST {
		return 0, false, nil
	}
	t := h.Transport
	*r = Reset{Tuple: h.Tuple, Refusal: s.Seq == 0 && t[13]&0x10 != 0}
	return uint64(s.Seq)<<32 | uint64(binary.BigEndian.Uint32(t[8:])), true, nil
}

const (
	recentSize = 1024
	repeatMs   = 100 // what passes through one node passes it in less
	maxTuples  = 4   // that one RST may have on its way through one node
)

// recent remembers the last RSTs, so that one is told once, and how it was seen first.
type recent struct {
	id   [recentSize]uint64
	at   [recentSize]int64
	rest [recentSize]sight
	next int
}

type sight struct {
	made   bool
	tuples [maxTuples]flow.Tuple
	n      int
}

// see says whether the RST is new with this tuple, and whether it was first seen as it
// left.
func (r *recent) see(id uint64, s *Reset, outgoing bool) (fresh, made bool) {
	for i := range r.id {
		if r.id[i] != id || r.rest[i].n == 0 || s.TimeMs-r.at[i] >= repeatMs {
			continue
		}
		e := &r.rest[i]
		if e.n == maxTuples || slices.Contains(e.tuples[:e.n], s.Tuple) {
			return false, e.made
		}
		e.tuples[e.n] = s.Tuple
		e.n++
		return true, e.made
	}
	r.id[r.next], r.at[r.next] = id, s.TimeMs
	r.rest[r.next] = sight{made: outgoing, tuples: [maxTuples]flow.Tuple{s.Tuple}, n: 1}
	r.next = (r.next + 1) % recentSize
	return true, outgoing
}
