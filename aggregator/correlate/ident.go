package correlate

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

// Everything that says who the ends are and which policy decided changes rarely
// and is the same for many connections, so it is kept once per distinct content
// (hash-consed) and counted.

// dynamic are the fields that an entry keeps itself, or that are computed.
var dynamic = maskOf(
	flow.FStart, flow.FEnd, flow.FEndReason, flow.FSrcIP, flow.FDstIP, flow.FSrcPort, flow.FDstPort, flow.FProto,
	flow.FPackets, flow.FBytes, flow.FPacketsDelta, flow.FBytesDelta,
	flow.FRevPackets, flow.FRevBytes, flow.FRevPacketsDelta, flow.FRevBytesDelta,
	flow.FTCPState, flow.FProxySNATIP, flow.FProxySNATPort,
	flow.FPacketsSrc, flow.FBytesSrc, flow.FPacketsDeltaSrc, flow.FBytesDeltaSrc,
	flow.FRevPacketsSrc, flow.FRevBytesSrc, flow.FRevPacketsDeltaSrc, flow.FRevBytesDeltaSrc,
	flow.FPacketsDst, flow.FBytesDst, flow.FPacketsDeltaDst, flow.FBytesDeltaDst,
	flow.FRevPacketsDst, flow.FRevBytesDst, flow.FRevPacketsDeltaDst, flow.FRevBytesDeltaDst,
	flow.FThroughput, flow.FRevThroughput, flow.FThroughputSrc, flow.FThroughputDst,
	flow.FRevThroughputSrc, flow.FRevThroughputDst, flow.FEndSrc, flow.FEndDst,
	flow.FOutcome, flow.FEvidence, flow.FOutcomeSrc, flow.FOutcomeDst, flow.FResetBy, flow.FSeenBy, flow.FCTZone, flow.FCTMark, flow.FCTStatus,
	flow.FRTT, flow.FRTTMin, flow.FRetransSrc, flow.FRetransDst, flow.FPathMTU,
	flow.FLossPackets, flow.FLossRevPackets, flow.FConnID, flow.FSeq, flow.FFirst, flow.FFinal,
	flow.FHalf, flow.FRecords, flow.FID, flow.FHandedOver,
	flow.FDNSTime,
	flow.FLimitedBySrc, flow.FLimitedByDst,
	flow.FSrcNet, flow.FDstNet,
)

// atDst are the fields of which the destination's node knows more.
var atDst = maskOf(
	flow.FDstPod, flow.FDstNS, flow.FDstNode, flow.FDstLabels, flow.FDstPodUID, flow.FDstNodeUID,
	flow.FDstKind, flow.FDstZone, flow.FDstWorkload,
	flow.FIngressPolicy, flow.FIngressPolicyNS, flow.FIngressPolicyType, flow.FIngressRule, flow.FIngressAction,
	flow.FIngressPolicyUID, flow.FIngressPolicyUUID, flow.FIngressPriority, flow.FIngressRuleID, flow.FIngressRevision,
	flow.FDstListen, flow.FDstListens, flow.FDstBacklog, flow.FDstBacklogMax,
)

// zeroAbsent are numbers whose zero a foreign exporter means as "none".
var zeroAbsent = maskOf(
	flow.FSvcPort, flow.FIngressPolicyType, flow.FIngressAction, flow.FEgressPolicyType, flow.FEgressAction,
	flow.FFlowType, flow.FScope, flow.FSrcKind, flow.FDstKind, flow.FSrcNameVia, flow.FDstNameVia,
	flow.FIngressRuleID, flow.FEgressRuleID,
)

func maskOf(fs ...flow.FieldID) flow.Mask {
	var m flow.Mask
	m.SetAll(fs...)
	return m
}

// field is the place of one field in a Record.
type field struct {
	off  uintptr
	size uintptr
	typ  flow.Type
	// none says that the zero value means absent.
	none bool
}

// fields are all fields by number; static are those of an identity.
var (
	static = staticMask()
	fields = layout()
)

func staticMask() (m flow.Mask) {
	for id := range flow.FieldID(flow.NumFields) {
		if !dynamic.Has(id) {
			m.Set(id)
		}
	}
	return m
}

func layout() (fs [flow.NumFields]field) {
	for id := range fs {
		t := flow.Fields[id].Type
		fs[id] = field{
			off: flow.Offsets[id], size: sizeOf(t), typ: t,
			none: t == flow.TypeString || t == flow.TypeUUID || t == flow.TypeAddr || zeroAbsent.Has(flow.FieldID(id)),
		}
	}
	return fs
}

func sizeOf(t flow.Type) uintptr {
	switch t {
	case flow.TypeU8, flow.TypeBool:
		return 1
	case flow.TypeU16:
		return 2
	case flow.TypeU32, flow.TypeI32:
		return 4
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		return 8
	case flow.TypeString:
		return unsafe.Sizeof("")
	case flow.TypeAddr:
		return unsafe.Sizeof(netip.Addr{})
	case flow.TypeUUID:
		return 16
	}
	panic("correlate: a field has a type that this package does not know: add it to sizeOf")
}

// raw views one field of a record as bytes, to compare and to copy numbers.
func raw(r *flow.Record, f *field) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), f.off)), f.size)
}

func str(r *flow.Record, f *field) *string {
	return (*string)(unsafe.Add(unsafe.Pointer(r), f.off))
}

func addr(r *flow.Record, f *field) *netip.Addr {
	return (*netip.Addr)(unsafe.Add(unsafe.Pointer(r), f.off))
}

// identity is one distinct set of names and policies: the values of the fields in
// has, in their order.
type identity struct {
	has  flow.Mask
	strs []string
	nums []byte // numbers as they lie in a Record, addresses as 16 bytes
	hash uint64
	refs int32
	next uint32 // same hash bucket, or free list
}

type identities struct {
	list    []identity // by number; 0 is unused
	buckets []uint32
	free    uint32
	live    int
	seed    maphash.Seed
}

func (s *identities) init() {
	s.seed = maphash.MakeSeed()
	s.list = make([]identity, 1, 256)
	s.buckets = make([]uint32, 256)
}

// each calls f for every field of m.
func each(m flow.Mask, f func(id int, fd *field)) {
	for w := range m {
		for v := m[w]; v != 0; v &= v - 1 {
			id := w<<6 + bits.TrailingZeros64(v)
			f(id, &fields[id])
		}
	}
}

// isNone tells whether a field's value means absent.
func isNone(r *flow.Record, fd *field) bool {
	if !fd.none {
		return false
	}
	if fd.size == 1 { // the enums, which are most
		return *(*uint8)(unsafe.Add(unsafe.Pointer(r), fd.off)) == 0
	}
	switch fd.typ {
	case flow.TypeString:
		return *str(r, fd) == ""
	case flow.TypeAddr:
		return !addr(r, fd).IsValid()
	default:
		for _, b := range raw(r, fd) {
			if b != 0 {
				return false
			}
		}
		return true
	}
}

// same tells whether identity i has the content of r.
func (s *identities) same(i uint32, r *flow.Record) bool {
	d := &s.list[i]
	si, ni := 0, 0
	m := r.Has.And(static)
	for w := range m {
		for v := m[w]; v != 0; v &= v - 1 {
			bit := v & -v
			fd := &fields[w<<6+bits.TrailingZeros64(v)]
			has := d.has[w]&bit != 0
			switch {
			case fd.typ == flow.TypeString:
				a := *str(r, fd)
				if !has {
					if a != "" {
						return false
					}
					continue
				}
				b := d.strs[si]
				si++
				// Interned strings are nearly always the same bytes.
				if len(a) != len(b) || (unsafe.StringData(a) != unsafe.StringData(b) && a != b) {
					return false
				}
			case !has:
				if !isNone(r, fd) {
					return false
				}
			case fd.size == 1:
				if d.nums[ni] != *(*uint8)(unsafe.Add(unsafe.Pointer(r), fd.off)) {
					return false
				}
				ni++
			case fd.typ == flow.TypeAddr:
				if a := addr(r, fd).As16(); string(d.nums[ni:ni+16]) != string(a[:]) {
					return false
				}
				ni += 16
			default:
				n := int(fd.size)
				if string(d.nums[ni:ni+n]) != string(raw(r, fd)) {
					return false
				}
				ni += n
			}
		}
	}
	return si == len(d.strs) && ni == len(d.nums)
}

// pack makes d hold the identity part of r.
func (d *identity) pack(r *flow.Record) {
	nstr, nnum := 0, 0
	d.has = flow.Mask{}
	each(r.Has.And(static), func(id int, fd *field) {
		if isNone(r, fd) {
			return
		}
		d.has.Set(flow.FieldID(id))
		switch fd.typ {
		case flow.TypeString:
			nstr++
		case flow.TypeAddr:
			nnum += 16
		default:
			nnum += int(fd.size)
		}
	})
	d.strs, d.nums = make([]string, 0, nstr), make([]byte, 0, nnum)
	each(d.has, func(_ int, fd *field) {
		switch fd.typ {
		case flow.TypeString:
			d.strs = append(d.strs, *str(r, fd))
		case flow.TypeAddr:
			a := addr(r, fd).As16()
			d.nums = append(d.nums, a[:]...)
		default:
			d.nums = append(d.nums, raw(r, fd)...)
		}
	})
}

// unpack writes the fields of d that keep says yes to into r.
func (d *identity) unpack(r *flow.Record, keep flow.Mask) {
	si, ni := 0, 0
	for w := range d.has {
		for v := d.has[w]; v != 0; v &= v - 1 {
			fd := &fields[w<<6+bits.TrailingZeros64(v)]
			want := keep[w]&(v&-v) != 0
			switch fd.typ {
			case flow.TypeString:
				if want {
					*str(r, fd) = d.strs[si]
				}
				si++
			case flow.TypeAddr:
				if want {
					*addr(r, fd) = netip.AddrFrom16([16]byte(d.nums[ni : ni+16])).Unmap()
				}
				ni += 16
			default:
				if want {
					copy(raw(r, fd), d.nums[ni:])
				}
				ni += int(fd.size)
			}
		}
		r.Has[w] |= d.has[w] & keep[w]
	}
}

func (s *identities) hash(r *flow.Record) uint64 {
	h := uint64(mixA)
	each(r.Has.And(static), func(id int, fd *field) {
		if isNone(r, fd) {
			return
		}
		switch fd.typ {
		case flow.TypeString:
			h = mix(h^uint64(id), maphash.String(s.seed, *str(r, fd)))
		case flow.TypeAddr:
			a := addr(r, fd).As16()
			h = mix(h^uint64(id), binary.LittleEndian.Uint64(a[8:])^mix(mixB, binary.LittleEndian.Uint64(a[:8])))
		default:
			for b := raw(r, fd); len(b) > 0; b = b[min(8, len(b)):] {
				var v [8]byte
				copy(v[:], b)
				h = mix(h^uint64(id), binary.LittleEndian.Uint64(v[:]))
			}
		}
	})
	return h
}

// intern gives the number of r's identity and takes a reference to it.
func (s *identities) intern(r *flow.Record) uint32 {
	h := s.hash(r)
	for i := s.buckets[h&uint64(len(s.buckets)-1)]; i != 0; i = s.list[i].next {
		if s.list[i].hash == h && s.same(i, r) {
			s.list[i].refs++
			return i
		}
	}
	i := s.free
	if i != 0 {
		s.free = s.list[i].next
	} else {
		i = uint32(len(s.list))
		s.list = append(s.list, identity{})
	}
	d := &s.list[i]
	d.pack(r)
	b := h & uint64(len(s.buckets)-1)
	d.hash, d.refs, d.next = h, 1, s.buckets[b]
	s.buckets[b] = i
	s.live++
	if s.live > 2*len(s.buckets) {
		s.grow()
	}
	return i
}

func (s *identities) grow() {
	s.buckets = make([]uint32, 4*len(s.buckets))
	for i := 1; i < len(s.list); i++ {
		if d := &s.list[i]; d.refs > 0 {
			b := d.hash & uint64(len(s.buckets)-1)
			d.next, s.buckets[b] = s.buckets[b], uint32(i)
		}
	}
}

// release gives a reference back.
func (s *identities) release(i uint32) {
	if i == 0 {
		return
	}
	d := &s.list[i]
	if d.refs--; d.refs > 0 {
		return
	}
	p := &s.buckets[d.hash&uint64(len(s.buckets)-1)]
	for *p != i {
		p = &s.list[*p].next
	}
	*p = d.next
	*d = identity{next: s.free}
	s.free = i
	s.live--
}

// merge writes both ends' names into out: each end's own where it knows more, the
// other's where the first is silent.
func (s *identities) merge(out *flow.Record, src, dst uint32) {
	a, b := &s.list[src], &s.list[dst]
	var fromDst, fromSrc flow.Mask
	for w := range fromDst {
		fromDst[w] = b.has[w] & (^a.has[w] | atDst[w]) &^ perObserver[w]
		fromSrc[w] = a.has[w] &^ fromDst[w] &^ perObserver[w]
	}
	a.unpack(out, fromSrc)
	b.unpack(out, fromDst)
}

// perObserver are the fields that make no sense once two ends are merged.
var perObserver = maskOf(flow.FObserver, flow.FDirection)
