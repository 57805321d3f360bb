package correlate

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
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
	flow.FOutcome, flow.FEvidence, flow.FSeenBy, flow.FCTZone, flow.FCTMark, flow.FCTStatus,
	flow.FRTT, flow.FRTTMin, flow.FRetransSrc, flow.FRetransDst, flow.FPathMTU,
	flow.FLossPackets, flow.FLossRevPackets, flow.FConnID, flow.FSeq, flow.FFirst, flow.FFinal,
	flow.FHalf, flow.FRecords, flow.FID,
)

// atDst are the fields of which the destination's node knows more.
var atDst = maskOf(
	flow.FDstPod, flow.FDstNS, flow.FDstNode, flow.FDstLabels, flow.FDstPodUID, flow.FDstNodeUID,
	flow.FDstKind, flow.FDstZone, flow.FDstWorkload,
	flow.FIngressPolicy, flow.FIngressPolicyNS, flow.FIngressPolicyType, flow.FIngressRule, flow.FIngressAction,
	flow.FIngressPolicyUID, flow.FIngressPolicyUUID, flow.FIngressPriority, flow.FIngressRuleID, flow.FIngressRevision,
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

// field is one static field by place.
type field struct {
	off  uintptr
	size uintptr
	typ  flow.Type
	id   flow.FieldID
}

// static are the fields of an identity in the order of the schema; runs are the
// stretches of a Record that they fill without a gap.
var static, runs = layout()

func layout() (fs []field, rs [][2]uintptr) {
	for id := flow.FieldID(0); id < flow.NumFields; id++ {
		if dynamic.Has(id) {
			continue
		}
		f := field{off: flow.Offsets[id], size: sizeOf(flow.Fields[id].Type), typ: flow.Fields[id].Type, id: id}
		fs = append(fs, f)
		if n := len(rs); n > 0 && f.off-rs[n-1][1] < 8 && f.off >= rs[n-1][1] && !dynamic.Has(id-1) {
			rs[n-1][1] = f.off + f.size
			continue
		}
		rs = append(rs, [2]uintptr{f.off, f.off + f.size})
	}
	return fs, rs
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

// raw views part of a record as bytes, for comparison only.
func raw(r *flow.Record, from, to uintptr) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(r), from)), to-from)
}

// identity is one distinct set of names and policies, as a record whose other
// fields are empty.
type identity struct {
	rec  flow.Record
	hash uint64
	refs int32
	next uint32 // same hash bucket, or free list
}

type identities struct {
	list    []*identity // by number; 0 is unused
	buckets []uint32
	free    uint32
	live    int
	seed    maphash.Seed
}

func (s *identities) init() {
	s.seed = maphash.MakeSeed()
	s.list = []*identity{nil}
	s.buckets = make([]uint32, 256)
}

// same tells whether identity i has the content of r. Strings of one session
// are interned, so the bytes of the string headers are nearly always equal.
func (s *identities) same(i uint32, r *flow.Record) bool {
	d := s.list[i]
	for _, run := range runs {
		if !bytes.Equal(raw(&d.rec, run[0], run[1]), raw(r, run[0], run[1])) {
			if !equal(&d.rec, r) {
				return false
			}
			fill(&d.rec, r) // the same content in newer strings: next time the bytes are equal
			break
		}
	}
	return (d.rec.Has[0]^r.Has[0])&strict[0]|(d.rec.Has[1]^r.Has[1])&strict[1]|(d.rec.Has[2]^r.Has[2])&strict[2] == 0
}

// strict are the static fields whose zero is a value: presence is part of the content.
var strict = maskOf(flow.FICMP, flow.FIngressPriority, flow.FEgressPriority, flow.FOriginalDomain, flow.FDirection,
	flow.FIngressRevision, flow.FEgressRevision)

func equal(a, b *flow.Record) bool {
	for _, f := range static {
		p, q := unsafe.Add(unsafe.Pointer(a), f.off), unsafe.Add(unsafe.Pointer(b), f.off)
		if f.typ == flow.TypeString {
			if *(*string)(p) != *(*string)(q) {
				return false
			}
		} else if !bytes.Equal(raw(a, f.off, f.off+f.size), raw(b, f.off, f.off+f.size)) {
			return false
		}
	}
	return true
}

// copyField sets one static field of dst from src.
func copyField(dst, src *flow.Record, f *field) {
	p, q := unsafe.Add(unsafe.Pointer(dst), f.off), unsafe.Add(unsafe.Pointer(src), f.off)
	switch f.typ {
	case flow.TypeU8, flow.TypeBool:
		*(*uint8)(p) = *(*uint8)(q)
	case flow.TypeU16:
		*(*uint16)(p) = *(*uint16)(q)
	case flow.TypeU32, flow.TypeI32:
		*(*uint32)(p) = *(*uint32)(q)
	case flow.TypeU64, flow.TypeI64, flow.TypeMillis:
		*(*uint64)(p) = *(*uint64)(q)
	case flow.TypeString:
		*(*string)(p) = *(*string)(q)
	case flow.TypeAddr:
		*(*netip.Addr)(p) = *(*netip.Addr)(q)
	case flow.TypeUUID:
		*(*flow.UUID)(p) = *(*flow.UUID)(q)
	}
}

// isZero tells whether a field holds its zero value.
func isZero(r *flow.Record, f *field) bool {
	if f.typ == flow.TypeString {
		return *(*string)(unsafe.Add(unsafe.Pointer(r), f.off)) == ""
	}
	for _, b := range raw(r, f.off, f.off+f.size) {
		if b != 0 {
			return false
		}
	}
	return true
}

// fill makes d the identity part of r: an empty name is absent.
func fill(d, r *flow.Record) {
	*d = flow.Record{}
	for i := range static {
		f := &static[i]
		if !r.Has.Has(f.id) {
			continue
		}
		if (f.typ == flow.TypeString || f.typ == flow.TypeUUID || f.typ == flow.TypeAddr || zeroAbsent.Has(f.id)) && isZero(r, f) {
			continue
		}
		copyField(d, r, f)
		d.Has.Set(f.id)
	}
}

func (s *identities) hash(r *flow.Record) uint64 {
	h := uint64(mixA)
	for i := range static {
		f := &static[i]
		if f.typ == flow.TypeString {
			if v := *(*string)(unsafe.Add(unsafe.Pointer(r), f.off)); v != "" {
				h = mix(h^uint64(f.id), maphash.String(s.seed, v))
			}
			continue
		}
		for b := raw(r, f.off, f.off+f.size); len(b) > 0; {
			var v uint64
			switch {
			case len(b) >= 8 && f.typ != flow.TypeAddr:
				v, b = binary.LittleEndian.Uint64(b), b[8:]
			case f.typ == flow.TypeAddr: // the zone handle is a pointer: leave it to equal
				v, b = binary.LittleEndian.Uint64(b)^binary.LittleEndian.Uint64(b[8:]), nil
			case len(b) >= 4:
				v, b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
			case len(b) >= 2:
				v, b = uint64(binary.LittleEndian.Uint16(b)), b[2:]
			default:
				v, b = uint64(b[0]), nil
			}
			if v != 0 {
				h = mix(h^uint64(f.id), v)
			}
		}
	}
	return h
}

// intern gives the number of r's identity and takes a reference to it.
func (s *identities) intern(r *flow.Record) uint32 {
	h := s.hash(r)
	b := h & uint64(len(s.buckets)-1)
	for i := s.buckets[b]; i != 0; i = s.list[i].next {
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
		s.list = append(s.list, &identity{})
	}
	d := s.list[i]
	fill(&d.rec, r)
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
		if d := s.list[i]; d.refs > 0 {
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
	d := s.list[i]
	if d.refs--; d.refs > 0 {
		return
	}
	p := &s.buckets[d.hash&uint64(len(s.buckets)-1)]
	for *p != i {
		p = &s.list[*p].next
	}
	*p = d.next
	d.rec = flow.Record{}
	d.next, s.free = s.free, i
	s.live--
}

// mergeIdentities writes both ends' names into out: each end's own where it
// knows more, the other's where the first is silent.
func mergeIdentities(out, src, dst *flow.Record) {
	*out = *src
	for i := range static {
		f := &static[i]
		if dst.Has.Has(f.id) && (!src.Has.Has(f.id) || atDst.Has(f.id)) {
			copyField(out, dst, f)
			out.Has.Set(f.id)
		}
	}
	out.Has.Clear(flow.FObserver)
	out.Observer = ""
	out.Has.Clear(flow.FDirection)
	out.Direction = 0
}
