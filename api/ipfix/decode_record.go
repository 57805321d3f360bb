package ipfix

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/weirnet/weir/api/flow"
)

// varLen reads the length of a variable-length value (RFC 7011 section 7).
func varLen(b []byte) (n int, rest []byte, ok bool) {
	if len(b) < 1 {
		return 0, nil, false
	}
	if b[0] < 255 {
		return int(b[0]), b[1:], int(b[0]) <= len(b)-1
	}
	if len(b) < 3 {
		return 0, nil, false
	}
	n = int(b[1])<<8 | int(b[2])
	return n, b[3:], n <= len(b)-3
}

// record decodes one record by the template's plan into r, which the same plan or
// none has filled before. It gives the bytes behind the record.
func (in *interner) record(r *flow.Record, t *Template, b []byte) ([]byte, bool) {
	r.Has = t.mask
	var present [24]byte
	base, end := unsafe.Pointer(unsafe.SliceData(b)), len(b)
	o := 0 // the next byte; o <= end throughout
	for i := 0; i < len(t.segs); {
		g := &t.segs[i]
		i = g.next
		if end-o < g.size {
			return nil, false
		}
		if g.size > 0 {
			decodeFixed(r, g.fixed, unsafe.Add(base, o), &present)
			o += g.size
		}
		for j := range g.tail {
			st := &g.tail[j]
			if st.kind < stepString {
				n := int(st.size)
				if n > end-o {
					return nil, false
				}
				decodeNumber(r, st, unsafe.Add(base, o))
				o += n
				continue
			}
			if o >= end {
				return nil, false
			}
			n := int(*(*uint8)(unsafe.Add(base, o)))
			o++
			if n == 255 {
				if end-o < 2 {
					return nil, false
				}
				n = int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Add(base, o))[:]))
				o += 2
			}
			if n > end-o {
				return nil, false
			}
			switch {
			case n == 0:
				if st.kind == stepString {
					r.Has[st.word%uint8(len(r.Has))] &^= st.bit
					*at[string](r, st.off) = ""
				}
			case st.kind == stepSkipVar:
			default:
				*at[string](r, st.off) = in.lookup(unsafe.Add(base, o), n)
			}
			o += n
		}
	}
	if t.presence {
		for i := range r.Has {
			r.Has[i] &= binary.BigEndian.Uint64(present[i*8:])
		}
	}
	return b[o:], true
}

// decodeNumber reads a number as wide as its field.
func decodeNumber(r *flow.Record, st *step, v unsafe.Pointer) {
	switch st.kind {
	case stepU8:
		*at[uint8](r, st.off) = *(*uint8)(v)
	case stepU16:
		*at[uint16](r, st.off) = binary.BigEndian.Uint16((*[2]byte)(v)[:])
	case stepU32:
		*at[uint32](r, st.off) = binary.BigEndian.Uint32((*[4]byte)(v)[:])
	default:
		*at[uint64](r, st.off) = binary.BigEndian.Uint64((*[8]byte)(v)[:])
	}
}

// decodeFixed reads the steps of a segment from p, where the caller has seen that
// enough bytes stand.
func decodeFixed(r *flow.Record, steps []step, p unsafe.Pointer, present *[24]byte) {
	for i := range steps {
		st := &steps[i]
		v := unsafe.Add(p, st.pos)
		switch st.kind {
		case stepU64:
			*at[uint64](r, st.off) = binary.BigEndian.Uint64((*[8]byte)(v)[:])
		case stepU8:
			*at[uint8](r, st.off) = *(*uint8)(v)
		case stepU16:
			*at[uint16](r, st.off) = binary.BigEndian.Uint16((*[2]byte)(v)[:])
		case stepU32:
			*at[uint32](r, st.off) = binary.BigEndian.Uint32((*[4]byte)(v)[:])
		case stepSeconds:
			if !st.weak {
				*at[int64](r, st.off) = int64(binary.BigEndian.Uint32((*[4]byte)(v)[:])) * 1000
			}
		case stepMillis:
			*at[int64](r, st.off) = int64(binary.BigEndian.Uint64((*[8]byte)(v)[:]))
		case stepIPv4:
			x := *(*[4]byte)(v)
			decodeAddr(r, st, x == [4]byte{}, netip.AddrFrom4(x))
		case stepIPv6:
			x := *(*[16]byte)(v)
			decodeAddr(r, st, x == [16]byte{}, netip.AddrFrom16(x))
		case stepPresence:
			*present = *(*[24]byte)(v)
		case stepOctets:
			u := *(*flow.UUID)(v)
			*at[flow.UUID](r, st.off) = u
			if u == (flow.UUID{}) {
				r.Has.Clear(st.field)
			}
		case stepBool:
			*at[bool](r, st.off) = *(*uint8)(v) == 1
		default:
			decodeRare(r, st, unsafe.Slice((*byte)(v), int(st.size)))
		}
	}
}

// decodeRare reads integers of another width than their field's and strings of
// fixed length.
func decodeRare(r *flow.Record, st *step, v []byte) {
	switch st.kind {
	case stepUint:
		if x := beUint(v); x != 0 || !st.weak {
			writeUint(r, st, x)
		}
	case stepInt:
		shift := 64 - 8*uint(len(v))
		writeUint(r, st, uint64(int64(beUint(v)<<shift)>>shift))
	case stepStringFixed:
		v = trimZeros(v)
		if len(v) == 0 {
			r.Has.Clear(st.field)
		}
		*at[string](r, st.off) = string(v)
	default:
	}
}

func trimZeros(v []byte) []byte {
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return v
}

func beUint(v []byte) uint64 {
	var x uint64
	for _, c := range v {
		x = x<<8 | uint64(c)
	}
	return x
}

// decodeAddr stores an address; all zeros say nothing, which lets a template carry
// both families.
func decodeAddr(r *flow.Record, st *step, zero bool, addr netip.Addr) {
	a := at[netip.Addr](r, st.off)
	switch {
	case !zero:
		*a = addr
		r.Has.Set(st.field)
	case !st.weak:
		*a = netip.Addr{}
		r.Has.Clear(st.field)
	}
}

// writeUint stores any integer; what is too large for the field stays at its top.
func writeUint(r *flow.Record, st *step, v uint64) {
	switch st.typ {
	case flow.TypeU64:
		*at[uint64](r, st.off) = v
	case flow.TypeU8:
		*at[uint8](r, st.off) = uint8(min(v, 1<<8-1))
	case flow.TypeU16:
		*at[uint16](r, st.off) = uint16(min(v, 1<<16-1))
	case flow.TypeU32:
		*at[uint32](r, st.off) = uint32(min(v, 1<<32-1))
	case flow.TypeI32:
		*at[int32](r, st.off) = int32(v)
	case flow.TypeI64:
		*at[int64](r, st.off) = int64(v)
	default:
	}
}
