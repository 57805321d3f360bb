package flow

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// The Protobuf form of a record is the message weir.flow.v1.Flow of flow.proto, which is
// generated from the table: the number of a field is its FieldID plus one, and so does
// not change as rows are only appended.

// Wire types (https://protobuf.dev/programming-guides/encoding/#structure).
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
)

// protoKeys are the tags before the fields' values.
var protoKeys = makeProtoKeys()

func makeProtoKeys() (keys [NumFields][]byte) {
	for f := range keys {
		wire := uint64(wireVarint)
		switch c := &columns[f]; {
		case c.typ == TypeString || c.typ == TypeAddr || c.typ == TypeUUID:
			wire = wireBytes
		case c.ident:
			wire = wireFixed64
		}
		keys[f] = binary.AppendUvarint(nil, uint64(f+1)<<3|wire)
	}
	return keys
}

// AppendProto appends the record as a message weir.flow.v1.Flow (flow.proto): fields in
// the order of the table, absent ones left out. Bytes of a string that are not UTF-8
// become U+FFFD, as Protobuf allows no others.
func AppendProto(b []byte, r *Record) []byte {
	for w, m := range r.Has {
		for m != 0 {
			f := w<<6 | bits.TrailingZeros64(m)
			m &= m - 1
			if f < NumFields {
				b = append(b, protoKeys[f]...)
				b = r.appendProtoValue(b, FieldID(f))
			}
		}
	}
	return b
}

func (r *Record) appendProtoValue(b []byte, f FieldID) []byte {
	c, p := &columns[f], r.at(f)
	switch c.typ {
	case TypeString:
		s := *(*string)(p)
		if !utf8.ValidString(s) {
			s = strings.ToValidUTF8(s, string(utf8.RuneError))
		}
		return append(appendVarint(b, uint64(len(s))), s...)
	case TypeAddr:
		return appendProtoAddr(b, *(*netip.Addr)(p))
	case TypeUUID:
		u := (*UUID)(p)
		return append(append(b, byte(len(u))), u[:]...)
	case TypeI32:
		v := int64(*(*int32)(p))
		return appendVarint(b, uint64(v<<1)^uint64(v>>63))
	case TypeI64:
		v := *(*int64)(p)
		return appendVarint(b, uint64(v<<1)^uint64(v>>63))
	case TypeU64:
		if c.ident {
			return binary.LittleEndian.AppendUint64(b, *(*uint64)(p))
		}
	default: // the other numbers are varints
	}
	return appendVarint(b, protoNumber(c.typ, p))
}

func protoNumber(t Type, p unsafe.Pointer) uint64 {
	switch t {
	case TypeU8:
		return uint64(*(*uint8)(p))
	case TypeBool:
		if *(*bool)(p) {
			return 1
		}
		return 0
	case TypeU16:
		return uint64(*(*uint16)(p))
	case TypeU32:
		return uint64(*(*uint32)(p))
	case TypeMillis:
		return uint64(*(*int64)(p))
	default:
		return *(*uint64)(p)
	}
}

func appendVarint(b []byte, v uint64) []byte {
	if v <= math.MaxInt8 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}

// appendProtoAddr writes 4 or 16 bytes in network order; none for the zero Addr. A zone
// is left out: it has a meaning on one machine only.
func appendProtoAddr(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4():
		x := a.As4()
		return append(append(b, 4), x[:]...)
	case a.IsValid():
		x := a.As16()
		return append(append(b, 16), x[:]...)
	}
	return append(b, 0)
}
